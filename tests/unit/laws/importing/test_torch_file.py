"""Checkpoint files from strangers: pickles run nothing, tensors stay inside their storages, damage is refused."""

from __future__ import annotations

import builtins
import io
import os
import pickle
import subprocess
import zipfile
from functools import partial

import numpy as np
import pytest
import torch

from leym.laws.importing.convert import import_law
from tests.support.checkpoints import (
    CHECKPOINT,
    Calls,
    pickled,
    refused,
    save,
    weights,
    zipped_pickle,
)
from tests.support.refusals import tried


def _victims(marker):
    """Pickles that make whoever loads them touch `marker`."""
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
def test_a_made_up_pickle_is_refused(program, words, tmp_path):
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
        _, problem = tried(partial(import_law, path, f"law{i}", target=tmp_path / "laws"))
        if problem is not None:
            assert problem.status in (413, 422)
            refusals += 1
    assert refusals > 200
