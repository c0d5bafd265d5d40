"""Checkpoints come back bit for bit or not at all, and name the one before."""

from __future__ import annotations

import json

import numpy as np
import pytest

from leym.frames.checkpoint import (
    CorruptCheckpoint,
    chain_references,
    get_checkpoint,
    put_checkpoint,
    references,
    stale_checkpoints,
)
from leym.frames.stores.open import open_store


def test_a_checkpoint_comes_back_bit_for_bit_or_not_at_all(tmp_path):
    store = open_store(tmp_path.as_uri())
    psi = np.array([[[1 + 2j, np.float32(1e-45)]]], np.complex64)
    old = put_checkpoint(store, "job", 1, 10, {"psi": psi})
    ref = json.loads(json.dumps(put_checkpoint(store, "job", 2, 20, {"psi": psi})))
    later = put_checkpoint(store, "job", 3, 15, {"psi": psi})
    assert get_checkpoint(store, ref)["psi"].tobytes() == psi.tobytes()
    odd = {"file": np.float64(0.1) * np.ones(()), "psi": np.asfortranarray(psi)}
    for name, found in get_checkpoint(store, put_checkpoint(store, "odd", 1, 1, odd)).items():
        assert found.shape == odd[name].shape
        assert found.tobytes() == odd[name].tobytes()
    with pytest.raises(ValueError, match="Object arrays"):
        put_checkpoint(store, "job", 2, 21, {"psi": np.array([{}], object)})
    assert stale_checkpoints(store, "job", 2, ref) == [old["key"]], f"{later} belongs to a later claim"
    store.put(ref["key"], store.get(ref["key"])[:-1] + b"?")
    with pytest.raises(CorruptCheckpoint):
        get_checkpoint(store, ref)
    store.delete([ref["key"]])
    with pytest.raises(CorruptCheckpoint, match="missing"):
        get_checkpoint(store, ref)


def test_a_checkpoint_names_the_one_before_it_and_none_behind_that(tmp_path):
    store, psi = open_store(tmp_path.as_uri()), {"psi": np.zeros((1, 1, 1), np.complex64)}
    first = put_checkpoint(store, "job", 1, 10, psi)
    second = put_checkpoint(store, "job", 1, 20, psi, first)
    assert put_checkpoint(store, "job", 1, 20, psi, second) == second, "the same once more is not the one before it"
    third = json.loads(json.dumps(put_checkpoint(store, "job", 2, 30, psi, second)))
    assert [ref["step"] for ref in references(third)] == [30, 20]
    assert chain_references(references(third)) == third
    assert chain_references(references(third)[1:])["step"] == 20
    assert stale_checkpoints(store, "job", 2, third) == [first["key"]]
    for ref in references(third):
        assert get_checkpoint(store, ref)["psi"].size == 1
    assert references(None) == []
    assert chain_references([]) is None
