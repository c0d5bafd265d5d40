"""Batch sizes: measured ones, and those that fill a call."""

from __future__ import annotations

import json

import pytest
import torch

from leym.contract.problems import Problem
from leym.engine.batch_size import BatchSizeTable, choose
from leym.engine.benchmark import measure_batch_sizes
from leym.engine.device import Device, pick_device
from leym.engine.step.cuda_graphs import StepRunner
from tests.support.command import leym_here
from tests.support.engines import a_run
from tests.support.laws import random_law

DEVICE = Device(torch.device("cpu"), torch.float32, "stand-in")
OTHER = Device(torch.device("cpu"), torch.float32, "another")


def test_the_smallest_rung_that_is_nearly_the_fastest():
    assert choose({1: 100.0}) == 1
    assert choose({1: 90.0, 2: 96.0, 4: 100.0, 8: 99.0}) == 2
    assert choose({1: 10.0, 2: 20.0, 4: 40.0, 8: 80.0}) == 8


def test_a_choice_is_for_a_kind_of_device_a_shape_of_law_and_a_grid(tmp_path):
    mlp, wider = (random_law(tmp_path / f"{c}", "MLP", c=c).manifest for c in (4, 8))
    file = tmp_path / "deep" / "batch-sizes.json"
    table = BatchSizeTable(DEVICE, file)
    own = table.batch_size(mlp, "nf4", (64, 64), 8)
    assert own == 4
    table.keep(mlp, "nf4", (64, 64), 2)
    BatchSizeTable(OTHER, file).keep(mlp, "nf4", (64, 64), 8)
    again = BatchSizeTable(DEVICE, file)
    assert again.batch_size(mlp, "nf4", (64, 64), 8) == again.batch_size(mlp, "int8", (64, 64), 8) == 2, (
        "decoded to the same dtype"
    )
    assert again.batch_size(wider, "nf4", (64, 64), 8) == again.batch_size(mlp, "nf4", (64, 32), 4) == 4
    assert BatchSizeTable(OTHER, file).batch_size(mlp, "nf4", (64, 64), 8) == 8
    assert BatchSizeTable(OTHER, file).batch_size(mlp, "nf4", (64, 64), 7) == 4, "no more than there are slots"


@pytest.mark.parametrize("text", ["{", "[]", '{"kind": {"law": 3}}', '{"kind": {"law": 0}}', '{"kind": {"law": "4"}}'])
def test_a_file_that_says_nothing_is_refused(text, tmp_path):
    file = tmp_path / "batch-sizes.json"
    file.write_text(text)
    with pytest.raises(Problem, match=r"batch-sizes\.json"):
        BatchSizeTable(DEVICE, file)


def test_an_engine_goes_by_it(engines, tmp_path):
    law = random_law(tmp_path / "law", "MLP")
    engine = engines(slots=8)
    BatchSizeTable(engine.device, tmp_path / "batch-sizes.json").keep(law.manifest, "nf4", (16, 16), 2)
    for file, expected in ((None, 8), (tmp_path / "batch-sizes.json", 2)):
        engine, run = engines(slots=8, batch_sizes=file), a_run(law, steps=3)
        engine.submit(run)
        run.sink.wait()
        assert engine.attributes(run)["batch_size"] == expected


def test_cpus_of_one_name_with_other_instructions_are_of_another_kind(monkeypatch):
    kind = pick_device("cpu").kind
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "MORE")
    assert pick_device("cpu").kind != kind
    assert "MORE" in pick_device("cpu").kind


def test_which_batch_sizes_give_equal_bits_is_measured(tmp_path, monkeypatch):
    law = random_law(tmp_path / "law", "MLP")
    found = measure_batch_sizes(law, "fp32", (8, 8), 4, 0.05)
    assert [one.bits for one in found] == ["A", "A", "A"], "the fused kernel does not know its batch"
    advance = StepRunner.run

    def by_the_batch(self, steps):
        advance(self, steps)
        state = self._launch.args[0].state
        if len(state) == 2:
            state[0, 0, 0, 0] += 2**-20

    monkeypatch.setattr(StepRunner, "run", by_the_batch)
    assert [one.bits for one in measure_batch_sizes(law, "fp32", (8, 8), 4, 0.05)] == ["A", "B", "A"]


@pytest.mark.parametrize("option", ["--batch-sizes", "--rungs"])
def test_it_is_measured_and_kept_by_the_command(option, tmp_path):
    random_law(tmp_path / "laws" / "some", "MLP")
    sizes = ["--seconds", "0.2", "--grid", "8", "8", "--slots", "4", "--precision", "fp32"]
    kept = tmp_path / "batch-sizes.json"
    given = {"LEYM_DATA": str(tmp_path), "LEYM_BATCH_SIZES": str(kept)}
    done = leym_here("bench", "some", option, "--keep", "--json", *sizes, **given)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    rows = found["batch_sizes"]
    assert [one["slots"] for one in rows] == [1, 2, 4]
    assert min(one["cell_steps_per_s"] for one in rows) > 0
    assert rows[0]["bits"] == "A"
    [[name, size]] = [pair for kind in json.loads(kept.read_text()).values() for pair in kind.items()]
    assert size == found["batch_size"]
    assert name.endswith("float32 8x8")
