"""Checkpoints become laws that compute the same; hostile or damaged files run nothing and are refused with a reason."""

from __future__ import annotations

import builtins
import io
import json
import os
import pickle
import random
import subprocess
import zipfile
from argparse import Namespace
from collections import Counter, defaultdict, deque
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from leym.contract.problems import Problem
from leym.laws.architectures import architectures
from leym.laws.bundle import WEIGHTS, Manifest
from leym.laws.importing.convert import import_law, split_weights
from leym.laws.importing.expected_shapes import expected_shapes
from leym.laws.importing.torch_file import open_torch_file
from leym.laws.loading import empty_network, load_weights
from leym.physics.step import step, to_complex, to_real
from tests.support.checkpoints import CHECKPOINT, EXPERIMENT, Calls, pickled, same, save, weights, zipped_pickle
from tests.support.laws import oracle

REQUIRED = {"SNN_UNET": {"antialias": False}}


def refused(status: int, *words: str, **call) -> Problem:
    with pytest.raises(Problem) as refusal:
        import_law(**call)
    assert refusal.value.status == status
    for word in words:
        assert word in refusal.value.detail, refusal.value.detail
    return refusal.value


@torch.no_grad()
def test_an_imported_experiment_steps_like_the_original(tmp_path):
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


@pytest.mark.parametrize("name", architectures())
def test_expected_shapes_match_every_network(name):
    for d, c in ((2, 4), (3, 8), (5, 12)):
        fields = {"d_state": d, "hidden_channels": c, "form": architectures()[name].form}
        manifest = Manifest(name="x", architecture=name, options=REQUIRED.get(name, {}), **fields)
        assert expected_shapes(name, d, c) == {
            k: tuple(v.shape) for k, v in empty_network(manifest).state_dict().items()
        }


@pytest.mark.parametrize("name", architectures())
def test_a_bare_state_dict_is_identified_if_only_one_architecture_fits(name, tmp_path):
    state = weights(name, 3, 8, **REQUIRED.get(name, {}))
    path = save(tmp_path / "law.pth", {f"module._orig_mod.{key}": value for key, value in state.items()})
    hints = {"resize_antialias": False} if name == "SNN_UNET" else {}
    if name in ("UNET", "UNET_UNITARY"):  # one network: only the name tells how its output is used
        refused(422, "UNET and UNET_UNITARY", "architecture", path=path, name="x", target=tmp_path)
        hints = {"architecture": name}
    law = import_law(path, "x", target=tmp_path / "laws", **hints)
    assert law.manifest.architecture == name
    assert law.manifest.form == architectures()[name].form
    assert all(same(array, state[key]) for key, array in load_file(law.path / WEIGHTS).items())


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
    """A class of the trainer's program, as configs and loggers are."""

    def __init__(self):
        self.mean, self.seen = np.zeros(3), {(0, 1): "pair"}


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_other_data_in_a_checkpoint_is_skipped_and_listed(protocol, tmp_path):
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
        assert "tests.unit.laws.test_importing.Running" in provenance["skipped_types"]
    assert "skipped" not in import_law(save(tmp_path / "a.pth", state), "a", target=tmp_path).manifest.provenance


def test_a_call_outside_the_weights_is_skipped_listed_and_not_run(tmp_path):
    marker = tmp_path / "owned"
    content = {"model_state_dict": weights("MLP", 2, 4), "rng": Calls(os.system, f"touch {marker}")}
    law = import_law(save(tmp_path / "x.pth", content), "x", target=tmp_path / "laws")
    assert law.manifest.provenance["skipped"] == ["rng"]
    assert law.manifest.provenance["skipped_types"] == [f"{os.system.__module__}.system"]
    assert not marker.exists()


@pytest.mark.parametrize("wrapped", ["averaged", "averaged and compiled", "lightning", "lightning of an average"])
def test_state_dicts_of_averages_and_of_lightning_are_imported(wrapped, tmp_path):
    """torch makes the averages. The Lightning checkpoint is written by hand, with the keys of its documentation."""
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


def test_the_best_checkpoint_of_a_folder_is_chosen(tmp_path):
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


def test_contradictions_are_named(tmp_path):
    state = weights("UNET", 3, 8)
    path = save(tmp_path / "a" / "law.pth", state)
    call = {"path": path, "name": "x", "target": tmp_path / "laws"}
    refused(422, "architecture = 'MLP'", "UNET", architecture="MLP", **call)
    refused(422, "'NOPE'", "known", architecture="NOPE", **call)
    refused(422, "d_state = 4", "have 3", architecture="UNET", d_state=4, **call)
    refused(422, "hidden_channels = 9", "have 8", architecture="UNET", hidden_channels=9, **call)
    refused(422, "form = 'antisymmetric'", "6 channels", form="antisymmetric", **call)
    refused(422, "resize_antialias", architecture="UNET", resize_antialias=True, **call)
    config = path.with_name("config.json")
    config.write_text(json.dumps({"MODEL_ARCHITECTURE": "UNET", "MODEL_PARAMS": {"d_state": 8, "hidden_channels": 8}}))
    refused(422, "d_state = 8 in the config", "have 3", **call)
    config.write_text(json.dumps({"MODEL_ARCHITECTURE": "DEEP_QCA"}))
    refused(422, "MODEL_ARCHITECTURE of the config", "DEEP_QCA", **call)
    config.write_text("[]")
    refused(422, "config.json", "list", **call)
    config.unlink()
    state["extra"], state["up1.bias"] = torch.zeros(1), torch.zeros(3)
    del state["outc.bias"]
    save(path, state)
    refused(
        422, "missing key 'outc.bias'", "unexpected key 'extra'", "'up1.bias' has shape [3]", form="diagonal", **call
    )
    state = weights("MLP", 2, 4)
    state["net.0.bias"][1] = torch.nan
    refused(422, "net.0.bias", "not finite", **call | {"path": save(path, state)})
    refused(422, "no architecture", **call | {"path": save(path, {"a": torch.zeros(1)})})
    refused(422, "name", **call | {"path": save(path, weights("MLP", 2, 4)), "name": "../x"})
    assert not (tmp_path / "laws").exists() or not list((tmp_path / "laws").iterdir())


def test_the_antisymmetric_variant_is_recognised_unless_it_is_ambiguous(tmp_path):
    law = import_law(save(tmp_path / "a.pth", weights("UNET_UNITARIA", 3, 8)), "a", target=tmp_path)
    assert (law.manifest.architecture, law.manifest.form) == ("UNET_UNITARIA", "antisymmetric")
    call = {"path": save(tmp_path / "b.pth", weights("UNET_UNITARY", 2, 4)), "target": tmp_path / "laws"}
    refused(422, "d_state = 2", "form", name="b", **call)
    refused(422, "d_state = 2", "form", name="b", architecture="UNET_UNITARY", **call)
    for form, name in (("antisymmetric", "UNET_UNITARIA"), ("diagonal", "UNET_UNITARY"), ("additive", "UNET")):
        law = import_law(name=form, form=form, **call)
        assert (law.manifest.architecture, law.manifest.form) == (name, form)
    first = weights("UNET_UNITARIA", 4, 8)  # of d = 8 real channels: 8 * 8 outputs
    first["outc.weight"], first["outc.bias"] = torch.zeros(64, 8, 1, 1), torch.zeros(64)
    refused(422, "64 channels", "real states", path=save(tmp_path / "c.pth", first), name="c", target=tmp_path)


def test_a_spiking_law_needs_resize_antialias(tmp_path):
    state = weights("SNN_UNET", 2, 4, antialias=True)
    path = save(
        tmp_path / "snn.pth", state | {"lif1.reset_mechanism_val": torch.tensor(0)}
    )  # an integer, as snntorch has
    refused(422, "resize_antialias", "torchvision", path=path, name="x", target=tmp_path)
    law = import_law(path, "x", target=tmp_path, resize_antialias=True)
    assert law.manifest.options == {"antialias": True}


def test_another_law_of_that_name_is_never_overwritten(tmp_path):
    first = import_law(save(tmp_path / "a.pth", weights("MLP", 2, 4)), "x", target=tmp_path)
    before = (first.path / WEIGHTS).read_bytes()
    assert import_law(tmp_path / "a.pth", "x", target=tmp_path).digest == first.digest
    refused(409, "'x'", path=save(tmp_path / "b.pth", weights("MLP", 3, 4)), name="x", target=tmp_path)
    assert (first.path / WEIGHTS).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir() if p.is_dir()] == ["x"]


def _victims(marker):
    """Yield pickles that create the file `marker` when they are loaded."""
    command = f"touch {marker}"
    for function, *arguments in (
        (os.system, command),
        (subprocess.check_output, ["touch", str(marker)]),
        (builtins.eval, f"open({str(marker)!r}, 'w')"),
        (io.open, str(marker), "w"),
        (torch.load, str(marker)),
        (getattr, "", "join"),
    ):
        for protocol in (2, 4):
            yield pickled({"model_state_dict": {"a": Calls(function, *arguments)}}, protocol)
            yield pickled(Calls(function, *arguments), protocol)


def test_a_hostile_pickle_is_refused_and_runs_nothing(tmp_path):
    marker = tmp_path / "owned"
    for i, hostile in enumerate(_victims(marker)):
        path = zipped_pickle(tmp_path / f"{i}.pth", hostile)
        problem = refused(422, "nothing in it was run", path=path, name="x", target=tmp_path / "laws")
        assert any(word in problem.detail for word in ("system", "check_output", "eval", "open", "load", "getattr"))
        path.write_bytes(hostile)
        refused(422, path=path, name="x", target=tmp_path / "laws")
        assert not marker.exists()
    pickle.loads(pickled(Calls(os.system, f"touch {marker}")))
    assert marker.exists(), "the pickle of this test is not even dangerous"


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "os.system"),
        (b"\x80\x02cbuiltins\nexec\n.", "builtins.exec"),
        (b"\x80\x04\x8c\x0bcollections\x8c\x14OrderedDict.fromkeys\x93.", "OrderedDict.fromkeys"),
        (b"\x80\x02ctorch._utils\n_rebuild_from_type_v2\n.", "_rebuild_from_type_v2"),
        (b"(ios\nsystem\n.", "INST"),
        (b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00.", "damaged"),
        (b"\x80\x02}r\xff\xff\xff\x7fa.", "list"),
        (b"\x80\x02(K\x01\x8a\xff" + b"\x7f" * 255 + b"t.", "tuple"),
        (b"\x80\x02}(" + b"(K\x01K\x02t" + b"K\x01u.", "key"),
        (b"\x80\x02ccollections\nOrderedDict\n](]K\x01aeb\x85R.", ""),
        (b"\x80\x02K\x01Q.", "persistent id"),
        (b"\x80\x02]K\x01", "exhausted"),
        (b"\x80\x020.", "opcode POP"),
        (b"", "exhausted"),
    ],
)
def test_a_forged_pickle_is_refused(program, words, tmp_path):
    refused(422, words, path=zipped_pickle(tmp_path / "x.pth", program), name="x", target=tmp_path)


def _tensor(elements: int, offset: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    class Tensors(pickle.Pickler):
        def persistent_id(self, obj):
            return ("storage", torch.FloatStorage, "0", "cpu", elements) if obj == b"here" else None

    file = io.BytesIO()
    call = (torch._utils._rebuild_tensor_v2, b"here", offset, shape, strides, False, {})
    Tensors(file, 2).dump({"net.4.weight": Calls(*call)})
    return file.getvalue()


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (_tensor(4, 0, (5,), (1,)), "beyond the end"),
        (_tensor(4, 3, (2,), (1,)), "beyond the end"),
        (_tensor(4, 0, (2**20, 2**20), (0, 0)), "beyond the end"),
        (_tensor(4, -1, (2,), (1,)), "offset"),
        (_tensor(4, 0, (2,), (-1,)), "shape or stride"),
        (_tensor(2**30, 0, (2**30,), (1,)), "first layer"),
    ],
)
def test_a_tensor_never_reaches_outside_its_storage(program, words, tmp_path):
    path = zipped_pickle(tmp_path / "x.pth", program, **{"data/0": b"\0" * 16})
    refused(422, words, path=path, name="x", target=tmp_path)


def test_a_storage_that_lies_about_its_size_or_is_missing_is_refused(tmp_path):
    state = weights("MLP", 2, 4)
    good = save(tmp_path / "good.pth", state)
    with zipfile.ZipFile(good) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    for change, words in ((lambda data: data[:-4], "bytes"), (None, "missing")):
        path = tmp_path / "bad.pth"
        with zipfile.ZipFile(path, "w") as archive:
            for name, data in entries.items():
                if not name.endswith("data/0"):
                    archive.writestr(name, data)
                elif change:
                    archive.writestr(name, change(data))
        refused(422, words, path=path, name="x", target=tmp_path)


def test_damaged_truncated_legacy_and_packed_files_are_refused(tmp_path):
    whole = CHECKPOINT.read_bytes()
    path = tmp_path / "x.pth"
    call = {"path": path, "name": "x", "target": tmp_path / "laws"}
    for cut in (0, 1, 3, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:cut])
        refused(422, **call, architecture="UNET_UNITARY")
    with zipfile.ZipFile(CHECKPOINT) as archive:
        first = archive.getinfo("checkpoint_ep100/data/0").header_offset + 600
    path.write_bytes(whole[:first] + bytes([whole[first] ^ 1]) + whole[first + 1 :])
    refused(422, "CRC", **call, architecture="UNET_UNITARY")
    save(path, weights("MLP", 2, 4), _use_new_zipfile_serialization=False)
    refused(422, "before 1.6", "torch.save", **call)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"0" * 2**20)
    refused(422, "data.pkl", "at most", **call)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + b"0" * 2**22)
    refused(422, "data.pkl", "at most", **call)
    zipped_pickle(path, b"\x80\x02N.", **{"constants.pkl": b""})
    refused(422, "TorchScript", **call)


def test_flipped_bytes_give_a_law_or_a_refusal_and_nothing_else(tmp_path):
    whole = save(tmp_path / "good.pth", {"model_state_dict": weights("MLP", 2, 4)}).read_bytes()
    with zipfile.ZipFile(tmp_path / "good.pth") as archive:
        program = archive.read("good/data.pkl")
        entries = {f"data/{i}": archive.read(f"good/data/{i}") for i in range(6)}
    random = np.random.default_rng(7)
    refusals = 0
    for i in range(300):
        broken = bytearray(program if i % 2 else whole)
        for _ in range(int(random.integers(1, 6))):
            broken[random.integers(len(broken))] = random.integers(256)
        path = tmp_path / "bad.pth"
        zipped_pickle(path, bytes(broken), **entries) if i % 2 else path.write_bytes(broken)
        try:
            import_law(path, f"law{i}", target=tmp_path / "laws")
        except Problem as problem:
            assert problem.status in (413, 422)
            refusals += 1
    assert refusals > 200
