"""StepRunner replayed from captures, and compiled steps shared by laws."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

from leym.contract.spec import Recording
from leym.engine import loading
from leym.engine.step.cuda_graphs import LENGTHS, StepRunner
from tests.support.engines import KINDS, a_run
from tests.support.laws import random_law

EACH, SELDOM = ((Recording(field="psi", every=n),) for n in (1, 20))


class Graphs:
    """As a device captures: what is called is written down and happens only when it is replayed."""

    def __init__(self):
        self.captured: list[int] = []
        self.replayed: list[int] = []
        self.capturing = False

    def __call__(self, call):
        recorded: list = []
        self.recording = recorded
        self.capturing = True
        call()
        self.capturing = False
        [(launch, steps)] = recorded
        self.captured.append(steps)

        def replay():
            self.replayed.append(steps)
            launch(steps)

        return replay

    def launch(self, launch):
        return lambda steps: self.recording.append((launch, steps)) if self.capturing else launch(steps)


@pytest.mark.parametrize("steps", [0, 1, 7, 8, 31, 32, 77, 100])
def test_any_number_of_steps_is_made_of_the_longest_captures(steps):
    graphs, done = Graphs(), []
    runner = StepRunner(graphs.launch(lambda steps: done.extend([1] * steps)), graphs)
    runner.run(steps)
    runner.run(steps)
    assert len(done) == 2 * steps
    assert graphs.captured == list(LENGTHS), "each length once, the largest first"
    assert len(graphs.replayed) == 2 * (steps // 32 + steps % 32 // 8 + steps % 8)


def test_without_captures_a_burst_is_one_launch():
    done = []
    StepRunner(done.append, None).run(5)
    assert done == [5]


@pytest.mark.compile
@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["UNET", "UNET_CONVLSTM", "NCA"])
def test_an_engine_of_captured_bursts_gives_the_bits_of_one_without(architecture, engines, tmp_path, monkeypatch):
    """Batches keep their tensors: a replay steps what is in them at its time, through joins, moves and departures."""
    law = random_law(tmp_path / "law", architecture, **(KINDS[architecture] | {"form": "diagonal"}))
    graphs = Graphs()
    found = []
    for capture in (None, graphs):
        engine = engines(slots=2, burst_s=60.0)  # no burst ends before its event on a slow machine
        engine.law_cache._capture = capture
        if capture:
            resident = engine.law_cache.resident

            def loaded(*arguments, resident=resident):
                law = resident(*arguments)
                law.kernel = "inductor"  # what is captured is a compiled step; here it may be any
                law._launch = lambda *given, launch=law._launch: graphs.launch(partial(launch, *given[:-1]))(given[-1])
                return law

            monkeypatch.setattr(engine.law_cache, "resident", loaded)
        runs = [a_run(law, id=str(i), seed=i, steps=50 + 13 * i, record=SELDOM) for i in range(4)]
        for run in runs:
            engine.submit(run)
        found.append([run.sink.wait().psi() for run in runs])
    assert set(graphs.replayed) == {8, 1}
    assert not set(graphs.captured) - set(LENGTHS)
    for without, captured in zip(*found, strict=True):
        assert np.array_equal(without, captured)


@pytest.mark.compile
@pytest.mark.slow
def test_a_new_law_of_a_known_kind_and_shape_compiles_nothing(engines, tmp_path):
    engine = engines(slots=2, compile=True)
    laws = [random_law(tmp_path / f"law{i}", "MLP", form="diagonal", seed=i) for i in range(3)]
    assert len({law.digest for law in laws}) == 3
    compiled = []
    for law in laws:
        engine.warm(law, "nf4", (16, 16))
        compiled.append(counters["stats"]["unique_graphs"])
    assert compiled[0] == compiled[1] == compiled[2]
    engine.warm(laws[0], "nf4", (8, 8))
    assert counters["stats"]["unique_graphs"] == compiled[0] + 1, "what compiles is counted"
    alone = engines(slots=2)
    for law in laws:
        runs = [a_run(law, id=law.digest, steps=9, record=EACH) for _ in range(2)]
        engine.submit(runs[0])
        alone.submit(runs[1])
        mine, eager = (run.sink.wait().psi() for run in runs)
        np.testing.assert_allclose(mine[1], eager[1], atol=1e-4)
        assert np.abs(mine[-1] - mine[0]).max() > 1e-3
    assert not np.array_equal(*(run_of(engine, law) for law in laws[:2])), "each with its own weights"


def run_of(engine, law):
    run = a_run(law, id="again", steps=9, record=EACH)
    engine.submit(run)
    return run.sink.wait().psi()


def test_only_compiled_laws_on_a_device_that_captures_are_captured(tmp_path):
    law_cache = loading.LawCache(loading.Device(torch.device("cpu"), torch.float32, "cpu"), compile=True)
    assert law_cache._capture is None


# what a bare GPU box does not have: the script must do without
SERVICE = ("alembic", "celery", "flask", "httpx", "numcodecs", "obstore", "pydantic_settings", "redis", "sqlalchemy")
AS_ON_A_BARE_BOX = f"""
import runpy, sys
sys.modules.update(dict.fromkeys({SERVICE}))
runpy.run_module("benchmarks.gpu_check", run_name="__main__")
"""


@pytest.mark.slow
def test_the_check_for_a_gpu_runs_without_one_and_without_the_service(tmp_path):
    out = tmp_path / "found.json"
    command = [sys.executable, "-c", AS_ON_A_BARE_BOX, "--dry-run", "--only", "weights", "blocks", "memory"]
    done = subprocess.run([*command, "--out", out], capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(out.read_text())
    assert found["dry_run"]
    assert len(found["weights"]) == 16
    assert all(found["weights"].values())
