"""Checkpoints become laws that compute what they did; files from strangers run nothing and are refused in words."""

from __future__ import annotations

import json
import os
import random
from argparse import Namespace
from collections import Counter, defaultdict, deque
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from leym.laws.bundle import WEIGHTS, Manifest
from leym.laws.importing.convert import import_law, split_weights
from leym.laws.importing.torch_file import open_torch_file
from leym.laws.loading import empty_network, load_weights
from leym.physics.step import step, to_complex, to_real
from tests.support.checkpoints import (
    CHECKPOINT,
    EXPERIMENT,
    Calls,
    refused,
    same,
    save,
    weights,
)
from tests.support.laws import oracle


@torch.no_grad()
def test_an_experiment_folder_becomes_the_law_that_it_was(tmp_path):
    law = import_law(EXPERIMENT, "mine", target=tmp_path / "laws")
    manifest = law.manifest
    assert (manifest.architecture, manifest.form) == ("UNET_UNITARY", "diagonal")
    assert (manifest.d_state, manifest.hidden_channels) == (4, 8)
    assert manifest.provenance["imported_from"] == CHECKPOINT.name
    assert len(manifest.provenance["sha256"]) == 64
    assert manifest.provenance["importer"]
    assert "largest episode" in manifest.provenance["choice"]
    assert manifest.provenance["episode"] == 100
    reference = oracle("unet_unitary", tmp_path / "oracle")
    network = empty_network(manifest)
    network.load_state_dict(load_weights(law), strict=True, assign=True)
    x = to_real(torch.from_numpy(reference.psi[0])[None])
    x = step(network, manifest.form, x, torch.full((1, 1, 1, 1), reference.gamma), None)[0]
    assert np.abs(to_complex(x)[0].numpy() - reference.psi[1]).max() < 1e-5


def test_checkpoints_of_every_age_and_dtype_are_read(tmp_path):
    state = weights("MLP", 4, 8)
    config = {"MODEL_ARCHITECTURE": "MLP", "MODEL_PARAMS": {"d_state": 4, "hidden_channels": 8}}
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(3))])
    v3 = {
        "episode": 7, "model_state_dict": state, "optimizer_state_dict": optimizer.state_dict(), "config": config,
        "loss": np.float64(0.5), "reward": torch.tensor(1.0), "dtype": torch.float32, "size": torch.Size([1, 2]),
    }  # fmt: skip
    module = torch.nn.ParameterDict({key.replace(".", "_"): torch.nn.Parameter(v) for key, v in state.items()})
    kinds = {
        "v3": v3,
        "v4": {"model_state_dict": state, "metrics": {"a": [1, (2.0, None, True)]}},
        "other": {"state_dict": state},
        "half": {key: value.half() for key, value in state.items()},
        "bfloat": {key: value.bfloat16() for key, value in state.items()},
        "double": {key: value.double() for key, value in state.items()},
        "views": {key: torch.stack([value, -value], -1)[..., 0] for key, value in state.items()},
        "parameters": {key: torch.nn.Parameter(value) for key, value in state.items()},
    }
    for kind, content in kinds.items():
        law = import_law(save(tmp_path / f"{kind}.pth", content), kind, target=tmp_path / "laws")
        found = load_file(law.path / WEIGHTS)
        for key, value in state.items():
            wanted = {"half": value.half(), "bfloat": value.bfloat16()}.get(kind, value)
            assert same(found[key], wanted), (kind, key)
    assert import_law(tmp_path / "v3.pth", "v3", target=tmp_path / "laws").manifest.provenance["episode"] == 7
    with open_torch_file(save(tmp_path / "module.pt", module.state_dict())) as file:
        assert len(split_weights(file.content)[0]) == 6


class Running:
    """A class of the trainer's own, as configs and loggers are."""

    def __init__(self):
        self.mean, self.seen = np.zeros(3), {(0, 1): "pair"}


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_plain_data_of_whatever_type_beside_the_weights_is_skipped_and_named(protocol, tmp_path):
    state = weights("MLP", 4, 8)
    beside = {
        "rng_numpy": np.random.RandomState(3).get_state(),
        "rng_python": random.Random(3).getstate(),
        "rng_torch": torch.get_rng_state(),
        "generator": np.random.default_rng(3),
        "started": datetime(2025, 11, 1, tzinfo=UTC),
        "folder": Path("/somewhere"),
        "options": Namespace(lr=1e-4),
        "counts": Counter("abca"),
        "groups": defaultdict(list, {"a": [1]}),
        "sets": ({1, 2}, frozenset("x"), bytearray(b"y"), deque([1]), 1 + 2j, Decimal("0.1")),
        "pairs": {(0, 1): "a tuple as a key", 2.5: None},
        "running": Running(),
        "losses": np.linspace(0, 1, 1000),
        "float8": torch.zeros(2, dtype=torch.float8_e4m3fn),
        "sparse": torch.eye(2).to_sparse(),
    }
    for kind, content in {
        "held": {"model_state_dict": state, "config": {"d_state": np.int64(4)}, **beside},
        "bare": state | {key: value for key, value in beside.items() if key != "rng_torch"},
    }.items():
        path = save(tmp_path / f"{kind}.pth", content, pickle_protocol=protocol)
        law = import_law(path, kind, target=tmp_path / "laws")
        assert all(same(array, state[key]) for key, array in load_file(law.path / WEIGHTS).items())
        provenance = law.manifest.provenance
        assert set(provenance["skipped"]) >= beside.keys() - {"rng_torch"}
        assert "datetime.datetime" in provenance["skipped_types"]
        assert "tests.unit.laws.importing.test_convert.Running" in provenance["skipped_types"]
    assert "skipped" not in import_law(save(tmp_path / "a.pth", state), "a", target=tmp_path).manifest.provenance


def test_a_call_beside_the_weights_is_skipped_named_and_not_run(tmp_path):
    marker = tmp_path / "owned"
    content = {"model_state_dict": weights("MLP", 2, 4), "rng": Calls(os.system, f"touch {marker}")}
    law = import_law(save(tmp_path / "x.pth", content), "x", target=tmp_path / "laws")
    assert law.manifest.provenance["skipped"] == ["rng"]
    assert law.manifest.provenance["skipped_types"] == [f"{os.system.__module__}.system"]
    assert not marker.exists()


@pytest.mark.parametrize("wrapped", ["averaged", "averaged and compiled", "lightning", "lightning of an average"])
def test_state_dicts_of_averages_and_of_lightning_are_taken(wrapped, tmp_path):
    """AveragedModel by torch itself; Lightning's layout by hand: keys of its documented checkpoint."""
    state = weights("MLP", 4, 8)
    network = empty_network(Manifest(name="x", architecture="MLP", d_state=4, hidden_channels=8, form="additive"))
    network.load_state_dict(state, strict=True, assign=True)
    averaged = torch.optim.swa_utils.AveragedModel(network).state_dict()
    assert "n_averaged" in averaged
    content = {
        "averaged": averaged,
        "averaged and compiled": {
            "model_state_dict": {key.replace("module.", "module._orig_mod."): value for key, value in averaged.items()}
        },
        "lightning": {
            "epoch": 3, "global_step": 100, "pytorch-lightning_version": "2.5.0", "loops": {}, "callbacks": {},
            "state_dict": {f"model.{key}": value for key, value in state.items()} | {"loss.weight": torch.ones(3)},
        },
        "lightning of an average": {"state_dict": {f"model.{key}": value for key, value in averaged.items()}},
    }[wrapped]  # fmt: skip
    law = import_law(save(tmp_path / "x.ckpt", content), "x", target=tmp_path / "laws")
    found = load_file(law.path / WEIGHTS)
    assert found.keys() == state.keys()
    assert all(same(array, state[key]) for key, array in found.items())
    skipped = law.manifest.provenance["skipped"]
    expected = {"lightning": "loss.weight", "lightning of an average": "model.n_averaged"}.get(wrapped, "n_averaged")
    assert expected in skipped


@pytest.mark.parametrize("key", ["ema_state_dict", "state_dict_ema", "model_ema", "ema"])
@pytest.mark.parametrize("inside", [None, "module", "shadow"])
def test_a_running_average_is_taken_in_place_of_the_weights(key, inside, tmp_path):
    state = weights("MLP", 4, 8)
    average = {f"module.{name}": value + 1 for name, value in state.items() if "bias" not in name}
    entry = {inside: average, "decay": 0.999, "num_updates": torch.tensor(7)} if inside else average
    content = {"model_state_dict": state, key: entry, "episode": 3}
    law = import_law(save(tmp_path / "x.pth", content), "x", target=tmp_path / "laws")
    found = load_file(law.path / WEIGHTS)
    assert found.keys() == state.keys()
    for name, array in found.items():
        assert same(array, state[name] + 1 if "bias" not in name else state[name]), "what it lacks is the model's"
    name = f"{key}.{inside}" if inside else key
    assert law.manifest.provenance["weights"] == f"{name}, a running average, not model_state_dict"
    assert law.manifest.provenance["skipped"] == ["episode"]
    alone = {key: {f"module.{name}": value for name, value in state.items()}}
    law = import_law(save(tmp_path / "y.pth", alone), "y", target=tmp_path / "laws")
    assert law.manifest.provenance["weights"] == f"{key}, a running average"


def test_an_average_without_keys_is_skipped_and_named(tmp_path):
    state = weights("MLP", 4, 8)
    content = {"model_state_dict": state, "ema": {"decay": 0.9, "shadow_params": [v + 1 for v in state.values()]}}
    law = import_law(save(tmp_path / "x.pth", content), "x", target=tmp_path / "laws")
    assert all(same(array, state[key]) for key, array in load_file(law.path / WEIGHTS).items())
    assert law.manifest.provenance["skipped"] == ["ema"]
    assert "weights" not in law.manifest.provenance


def test_the_hyper_parameters_of_lightning_are_its_config(tmp_path):
    state = {f"model.{key}": value for key, value in weights("UNET", 4, 8).items()}
    parameters = {"MODEL_ARCHITECTURE": "UNET_UNITARY", "d_state": 4, "lr": 1e-3}
    content = {"state_dict": state, "hyper_parameters": parameters, "pytorch-lightning_version": "2.5.0"}
    law = import_law(save(tmp_path / "x.ckpt", content), "x", target=tmp_path / "laws")
    assert law.manifest.architecture == "UNET_UNITARY", "the weights fit UNET too"
    wrong = content | {"hyper_parameters": parameters | {"d_state": 5}}
    refused(422, "d_state = 5 in the config", path=save(tmp_path / "y.ckpt", wrong), name="y", target=tmp_path / "laws")


def test_which_checkpoint_of_a_folder(tmp_path):
    state = weights("MLP", 2, 4)
    runs, config = tmp_path / "training_checkpoints" / "RUN", tmp_path / "experiments" / "RUN" / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps({"MODEL_ARCHITECTURE": "MLP", "D_STATE": 2, "HIDDEN_CHANNELS": 4}))
    chosen = {"checkpoint_ep9": 9, "checkpoint_ep10": 10, "last_checkpoint": 11, "best_model": 5}
    for i, (stem, episode) in enumerate(chosen.items()):
        save(runs / f"{stem}.pth", {"model_state_dict": state, "episode": episode})
        save(runs / "snapshot_ep99.pt", torch.zeros(1, 2, 2, 2, dtype=torch.complex64))
        folder = config.parent if i % 2 else runs  # either folder finds the other
        law = import_law(folder, f"law{i}", target=tmp_path / "laws")
        assert law.manifest.provenance["episode"] == episode
        choice = law.manifest.provenance["choice"]
        assert choice.startswith(f"{stem}.pth")
        assert f"of {i + 1}" in choice
    refused(422, "one tensor", path=runs / "snapshot_ep99.pt", name="x", target=tmp_path)
    (tmp_path / "empty").mkdir()
    refused(422, "no checkpoint", path=tmp_path / "empty", name="x", target=tmp_path)
    refused(422, "no such file", path=tmp_path / "nowhere", name="x", target=tmp_path)


def test_another_law_of_that_name_is_never_overwritten(tmp_path):
    first = import_law(save(tmp_path / "a.pth", weights("MLP", 2, 4)), "x", target=tmp_path)
    before = (first.path / WEIGHTS).read_bytes()
    assert import_law(tmp_path / "a.pth", "x", target=tmp_path).digest == first.digest
    refused(409, "'x'", path=save(tmp_path / "b.pth", weights("MLP", 3, 4)), name="x", target=tmp_path)
    assert (first.path / WEIGHTS).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == ["x"]
