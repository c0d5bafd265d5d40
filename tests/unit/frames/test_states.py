"""Uploaded start states: kept once, and any bytes are taken or refused."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leym.contract.problems import Problem
from leym.frames.states import get_state, put_state
from leym.frames.stores.open import open_store
from tests.support.refusals import tried


def npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def test_a_state_is_kept_once_and_wrong_ones_are_refused_with_the_bound(tmp_path):
    store = open_store(tmp_path.as_uri())
    psi = np.ones((4, 6, 2), np.complex64)
    state = put_state(store, npy(psi))
    assert put_state(store, npy(psi)) == state
    assert np.array_equal(get_state(store, state), psi)
    bad = psi.copy()
    bad[1, 2, 0] = np.nan
    huge = npy(psi).replace(b"(4, 6, 2)", b"(4,9**9,2)")
    header_only = npy(np.zeros((0, 1024, 1000), np.complex64))
    refusals = {
        npy(psi.astype(np.complex128)): "complex128",
        npy(psi[0]): r"\[6, 2\]",
        npy(bad): r"not finite, the first at \[1, 2, 0\]",
        npy(psi)[:-1]: "383 bytes follow",
        b"no npy": "no npy file",
        npy(np.array([{}], object), allow_pickle=True): "object",
        huge: "no npy file",
        header_only: r"\[0, 1024, 1000\]",
    }
    for data, reason in refusals.items():
        with pytest.raises(Problem, match=reason) as refusal:
            put_state(store, data)
        assert refusal.value.status == 422
    with pytest.raises(Problem) as refusal:
        get_state(store, "0" * 64)
    assert refusal.value.status == 404


def test_a_state_stored_by_columns_is_the_same_state(tmp_path):
    store = open_store(tmp_path.as_uri())
    psi = np.arange(4 * 6 * 2).reshape(4, 6, 2).astype(np.complex64)
    found = get_state(store, put_state(store, npy(np.asfortranarray(psi))))
    assert np.array_equal(found, psi)
    assert found.flags.c_contiguous
    assert found.flags.writeable


MADE_UP = ("{1: 2, 'a': 3}", "{[]: 1}", "(", "'''", "(" * 9000, "-" * 9000 + "1", "{'descr': '<,8'}", "")


@pytest.mark.filterwarnings("ignore:Reading .* header parsing")
@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_bytes_for_a_state_are_taken_or_refused(data):
    store, good = open_store("memory://"), npy(np.ones((4, 6, 2), np.complex64))
    if data.draw(st.booleans()):
        places = st.tuples(st.integers(0, 127), st.sampled_from(b"{}[]()'\",:0L9 \n\\x#-\0\xff"))
        body = bytearray(good)
        for place, byte in data.draw(st.lists(places, min_size=1, max_size=4)):
            body[place] = byte
    else:
        text = data.draw(st.sampled_from(MADE_UP)).encode()
        version = data.draw(st.sampled_from([b"\1\0", b"\2\0", b"\3\0", b"\4\0"]))
        size = len(text).to_bytes(2 if version == b"\1\0" else 4, "little")
        body = bytearray(b"\x93NUMPY" + version + size + text + bytes(384))
    kept, refusal = tried(lambda: put_state(store, bytes(body)))
    if refusal is not None:
        assert refusal.status == 422
    else:
        assert get_state(store, kept).size == 48
