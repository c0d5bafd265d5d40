"""Damaged and made-up files against everything that reads files: laws, checkpoints, start states, frames, verdicts.

Whatever the bytes are, a reader gives what was written or says what is wrong; it never fails in another way and never
takes memory that the file only announces. `FUZZ_RUNS=20000 pytest -s tests/integration/test_file_fuzz.py` looks longer.
"""

from __future__ import annotations

import io
import os
import resource
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest

from leym.frames.checkpoint import CorruptCheckpoint, get_checkpoint, put_checkpoint
from leym.frames.reader import FrameReader
from leym.frames.stores.open import open_store
from leym.laws.bundle import MANIFEST, WEIGHTS
from leym.laws.verdicts import from_json
from tests.support.api import Api, opened
from tests.support.checkpoints import save, weights
from tests.support.file_mutations import changed
from tests.support.frames import Writing
from tests.support.laws import random_law
from tests.support.refusals import tried
from tests.support.verdicts import a_verdict

pytestmark = pytest.mark.filterwarnings("ignore")  # zipfile and numpy say what they find odd
RUNS = int(os.environ.get("FUZZ_RUNS", "150"))
MEMORY = 300 * 2**20


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with opened(tmp_path / "data") as found:
        yield found


@pytest.fixture(autouse=True)
def little_memory() -> Iterator[None]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert grown < MEMORY, f"{grown} bytes were taken for files of less than a megabyte"


def spoilt(kind: str, good: bytes) -> Iterator[bytes]:
    """The good file first, and then others; a failing test shows which."""
    yield good
    for run in range(RUNS):
        random = Random(f"{kind} {run}")
        yield changed(good, random)


def bundle_zip(folder: Path) -> bytes:
    law = random_law(folder / "tiny", "MLP")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in (MANIFEST, WEIGHTS):
            archive.write(law.path / name, name)
    return file.getvalue()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def hold(answers: Counter[int], allowed: set[int]) -> None:
    """The good file was taken, others were refused, and nothing else happened."""
    print(dict(answers))
    assert set(answers) <= allowed, answers
    assert answers[422] > RUNS / 4, answers
    assert answers[201] >= 1, answers


def test_bundles(api, tmp_path):
    answers: Counter[int] = Counter()
    for data in spoilt("bundle", bundle_zip(tmp_path)):
        answer = api.http.put("/v1/laws/fuzzed", data=data, content_type="application/zip")
        answers[answer.status_code] += 1
        assert answer.status_code < 500, answer.text
        if answer.status_code in (200, 201):
            assert api.http.get(f"/v1/laws/{answer.json['ref']}").status_code == 200
    hold(answers, {200, 201, 413, 422})


def test_checkpoints_of_training(api, tmp_path):
    """Both of the files that make a law out of an experiment."""
    file = save(tmp_path / "last.pth", {"model_state_dict": weights("MLP", 2, 4), "episode": 7}).read_bytes()
    config = b'{"MODEL_ARCHITECTURE": "MLP", "MODEL_PARAMS": {"d_state": 2, "hidden_channels": 4}}'
    answers: Counter[int] = Counter()
    for n, data in enumerate(spoilt("checkpoint", file)):
        spoil = Random(n)
        form = {"checkpoint": (io.BytesIO(data), "last.pth")}
        if n % 3:
            said = changed(config, spoil) if n % 3 == 2 else config
            form["config"] = (io.BytesIO(said), "config.json")
        if n % 3 == 0:
            form |= {"architecture": "MLP", "d_state": "2"}
        answer = api.http.put("/v1/laws/trained", data=form, content_type="multipart/form-data")
        answers[answer.status_code] += 1
        assert answer.status_code < 500, answer.text
    hold(answers, {200, 201, 413, 422})


def test_start_states(api):
    answers: Counter[int] = Counter()
    for data in spoilt("state", npy(np.ones((8, 8, 2), np.complex64))):
        answer = api.http.post("/v1/states", data=data, content_type="application/octet-stream")
        answers[answer.status_code] += 1
        assert answer.status_code < 500, answer.text
    hold(answers, {201, 413, 422})


def test_checkpoints_of_runs():
    """Any change is found, and so are two objects that were exchanged."""
    store, there = open_store("memory://"), {"psi": np.ones((4, 4, 2), np.complex64), "h": np.zeros(3, np.float32)}
    ref = put_checkpoint(store, "j" * 26, 1, 10, there)
    good = store.get(ref["key"])
    found = 0
    for data in spoilt("checkpoint of a run", good):
        store.put(ref["key"], data)
        if data == good:
            assert all(np.array_equal(array, there[name]) for name, array in get_checkpoint(store, ref).items())
        else:
            with pytest.raises(CorruptCheckpoint):
                get_checkpoint(store, ref)
            found += 1
    assert found > RUNS / 2


def test_frames():
    """Readers of a spoilt object are told so, or are shown what was written: nothing else, ever."""
    store = open_store("memory://")
    job = Writing(store)
    job.steps(40)
    job.commit()
    good = {key: store.get(key) for key in store.list("jobs/")}
    assert len(good) >= 3
    answers: Counter[str] = Counter()
    for key, whole in good.items():
        for data in spoilt(key, whole):
            store.put(key, data)
            _, problem = tried(lambda: job.check(FrameReader(store, job.row)))
            if problem is not None:
                assert problem.status == 503, problem.detail
            answers["refused" if problem else "as written"] += 1
        store.put(key, whole)
    print(dict(answers))
    assert answers["refused"] > RUNS


def test_verdicts(tmp_path):
    answers: Counter[str] = Counter()
    good = a_verdict(random_law(tmp_path / "tiny", "MLP")).to_json().encode()
    for data in spoilt("verdict", good):
        try:
            found = from_json(data.decode(errors="replace"))
            assert found.verdict in ("pass", "fail", "inconclusive")
            answers["read"] += 1
        except ValueError:
            answers["refused"] += 1
    print(dict(answers))
    assert answers["refused"] > RUNS / 4
