"""What the benchmarks reckon with, and what they say where something they measure against is not installed."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
from contextlib import nullcontext
from datetime import UTC, datetime
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import capacity, service, sweeps
from benchmarks.common import Machine, cost_per_cell_step, make_law
from benchmarks.jax_arm import in_its_own_process, weights_of
from benchmarks.litserve_arm import litserve_arm, summary
from benchmarks.load_processes import processes_below
from benchmarks.rivals import poisson
from benchmarks.service import Bench, grown, shares, spell_s
from leym.engine.roofline import Cost
from leym.laws.loading import load_weights
from tests.support.paths import ROOT
from tests.support.processes import is_alive
from tests.support.service import until


def test_arrivals_come_at_their_rate_and_begin_at_once():
    lengths = list(range(1, 2001))
    arrivals = poisson(lengths, jobs_per_s=50.0)
    moments = [at for at, _ in arrivals]
    assert moments[0] == 0
    assert moments == sorted(moments)
    assert [steps for _, steps in arrivals] == lengths
    assert len(moments) / moments[-1] == pytest.approx(50, rel=0.1)
    assert np.std(np.diff(moments)) == pytest.approx(1 / 50, rel=0.15), "exponential gaps"


def test_a_summary_counts_from_the_first_arrival_to_the_last_answer():
    found = summary([(1.0, 100), (2.0, 300)], (4, 8), ["a", "b"], [2.0, 3.0], [3.0, 5.0])
    assert found["cell_steps_per_s"] == 400 * 32 / 4
    assert found["p50_s"] == 2.5
    assert found["digests"] == ["a", "b"]


def test_shares_are_of_what_came_between():
    before = {"slot_steps": 10, "batch_steps": 20, "busy_s": 5.0, "stepping_s": 1.0}
    after = {"slot_steps": 40, "batch_steps": 60, "busy_s": 9.0, "stepping_s": 4.0}
    assert shares(before, after) == {"occupancy": 0.75, "idle": 0.25}


def record(started: float, finished: float, steps: int = 100) -> dict[str, object]:
    moment = [datetime.fromtimestamp(1e9 + at, UTC).isoformat() for at in (started, finished)]
    return {"started_at": moment[0], "finished_at": moment[1], "steps": steps, "spec": {"grid": [2, 5]}}


def test_a_spell_is_from_the_first_start_to_the_last_end():
    jobs = [record(0.5, 1.0), record(0.0, 4.0), record(2.0, 3.0)]
    assert spell_s(jobs) == pytest.approx(4.0)
    assert spell_s([record(1.0, 1.0)]) == 0, "a fast machine: the caller takes more jobs"


@given(
    lengths=st.lists(st.integers(1, 1000), min_size=1, max_size=20),
    factor=st.floats(1, 1e6),
)
def test_grown_work_is_at_least_so_many_times_the_work_in_no_more_jobs_than_the_limit(lengths, factor):
    more = grown(lengths, factor)
    assert factor <= sum(more) / sum(lengths) <= 2 * 1.2 * factor + 1
    assert len(more) <= max(service.MOST_JOBS, len(lengths))
    assert len(more) % len(lengths) == 0


@pytest.mark.slow
@pytest.mark.parametrize("fails", [False, True])
def test_jobs_that_end_between_two_heartbeats_are_measured_and_no_process_stays(fails, tmp_path, monkeypatch):
    monkeypatch.setenv("LEYM_COMPILE", "0")
    monkeypatch.setattr(service, "GRID", (8, 8))
    monkeypatch.setattr(service, "SPELL_S", 1e9 if fails else 0.5)
    if fails:  # when it asks for more work, as it does until a spell is long enough
        monkeypatch.setattr(service, "grown", lambda *_: 1 / 0)
    monkeypatch.setattr(Bench, "_steps_per_s", lambda self: 1)
    before = {process.pid for process in processes_below(os.getpid())}  # services that other tests share
    bench = Bench(make_law("nca", tmp_path), "fp32", slots=4, jobs=4, seconds=0.1)
    bench.close()
    with pytest.raises(ZeroDivisionError) if fails else nullcontext():
        found = bench.service([1] * 4)
        assert 0 < found["cell_steps_per_s"] < 1e12
        assert 0 < found["occupancy"] <= 1
    left = [process.name for process in processes_below(os.getpid()) if process.pid not in before]
    assert not {"supervisor", "api", "worker", "valkey"} & {name.partition(".")[0] for name in left}


@pytest.mark.parametrize(("steps_per_s", "mean"), [(6_000_000, 100_000), (1, 10)])
def test_the_jobs_of_a_benchmark_are_long_enough_for_the_machine(steps_per_s, mean, tmp_path, monkeypatch):
    monkeypatch.setattr(Bench, "_steps_per_s", lambda self: steps_per_s)
    bench = Bench(make_law("nca", tmp_path), "fp32", slots=2, jobs=6, seconds=0.1)
    assert bench.mean == mean
    assert bench.lengths["equal"] == [mean] * 6


def test_a_benchmark_measures_how_fast_the_machine_is_and_then_an_arm(tmp_path):
    bench = Bench(make_law("nca", tmp_path), "fp32", slots=2, jobs=6, seconds=0.1)
    found = bench.continuous(bench.lengths["equal"])
    bench.close()
    assert found["cell_steps_per_s"] > 0
    assert 0 < found["occupancy"] <= 1
    assert 0 <= found["idle"] <= 1


STARTS = """
import os, signal, sys
from leym.demo.service import running_service
with running_service(arguments=["--workers", "0", "--no-flower"]) as client:
    print(client.url, flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_benchmark_that_is_ended_leaves_no_process_behind(number):
    command = [sys.executable, "-c", STARTS]
    listening = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # also where a shell runs the tests behind itself
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=listening)
    assert started.stdout is not None
    assert started.stdout.readline().startswith("http://")
    left = [process.pid for process in processes_below(started.pid)]
    assert len(left) >= 3, "supervisor, broker, API"
    started.send_signal(number)
    started.wait(240)
    until(lambda: not [pid for pid in left if is_alive(pid)], what="all have ended")


def test_usage_counts_files_of_the_store_and_bytes_on_the_disk(tmp_path):
    for name in ("store/a/1", "store/2", "jobs.sqlite", "jobs.sqlite-wal", "laws/x", "up.log"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x" * 10_000)
        os.sync()
    files, size = sweeps.usage(tmp_path)
    assert files == 2
    assert 4 * 10_000 <= size <= 4 * 20_000


@pytest.mark.slow
def test_a_sweep_is_run_to_its_end_and_measured(tmp_path, monkeypatch):
    monkeypatch.setenv("LEYM_COMPILE", "0")
    with sweeps.service(4, "aurora/nf4/8x8") as (client, data):
        found = sweeps.run(client, data, "aurora", 6, **sweeps.TINY)
        with pytest.raises(RuntimeError, match="of 2 members not all have succeeded"):
            sweeps.run(client, data, "aurora", 2, **(sweeps.TINY | {"ttl_s": None, "steps": 10**6, "deadline_s": 1}))
    assert found.seconds > 0
    assert found.objects > 0
    assert found.stored_bytes > 6 * sweeps.TINY_FRAMES


def test_the_slowest_part_is_the_one_that_is_full_first():
    """Compare with numbers computed by hand, for 8,192 members of 100 cell-steps in 2 blocks."""
    costs = capacity.Costs(
        accept_s_per_member=0.001, table_s_per_block=2.0, table_bytes_per_block=0, broker_s_per_block=1.0,
        store_s_per_object=5.0, store_s_per_byte=0.01, objects_per_block=3,
    )  # fmt: skip
    workload = capacity.Workload("w", cell_steps=100, recorded_bytes=1, state_bytes=1)
    assert workload.block_members(speed=1e9, workers=2) == 4096
    found = capacity.seconds_by_part(costs, workload, members=8192, workers=2, speed=1e9)
    stored = 2 * 3 * 5.0 + 2 * 8192 * 0.01
    assert found == pytest.approx({"compute": 8192 * 100 / 2e9, "api": 8.192, "table": 4, "broker": 2, "store": stored})
    rows = list(capacity.rows_of(costs, speed=1e9))
    assert len(rows) == len(capacity.WORKLOADS) * 2 * 3
    assert {row["full first"] for row in rows} <= {"compute", "api", "table", "broker", "store"}
    assert all(row[row["full first"]] == "100.0%" for row in rows)


def test_a_roofline_is_what_was_done_over_what_the_machine_can_do(tmp_path):
    law = make_law("mlp", tmp_path)
    small, large = (cost_per_cell_step(law, (64, 64), size) for size in (1, 8))
    assert small.flops == large.flops == 2 * (16 * 128 + 128 * 128 + 128 * 16)
    assert large.bytes < small.bytes
    machine = Machine("stand-in", bf16_gemm=4e9, fp32_gemm=4e9, copy=2e9)
    found = machine.roofline(1e5, Cost(flops=1e4, bytes=1e4))
    assert found == {
        "gflops": 1.0, "gemm_share": 0.25, "operand_gemm_share": 0.25, "gbytes_per_s": 1.0, "copy_share": 0.5
    }  # fmt: skip


def test_weights_for_jax_are_those_of_the_network(tmp_path):
    law = make_law("nca", tmp_path)
    mine, theirs = weights_of(law), load_weights(law)
    x = torch.randn(5, 64)
    hidden = torch.nn.functional.linear(x, theirs["net.0.weight"].flatten(1), theirs["net.0.bias"])
    np.testing.assert_allclose(x.numpy() @ mine["w1"] + mine["b1"], hidden.numpy(), atol=1e-5)
    filters = theirs["perceive.weight"].unflatten(0, (-1, 4)).squeeze(2)
    assert all(np.array_equal(mine["filters"], of_channel.numpy()) for of_channel in filters)


def test_where_a_rival_is_not_installed_its_arm_says_so(tmp_path):
    law = make_law("nca", tmp_path)
    if not importlib.util.find_spec("jax"):
        assert "jax" in in_its_own_process(law, (8, 8), 1, 0.1)["error"]
    if not importlib.util.find_spec("litserve"):
        assert "litserve" in litserve_arm("batched", law, "nf4", (8, 8), 1, [(0.0, 1)], "ours")["error"]


def test_benchmarks_use_only_what_the_library_has():
    """Most arms run for minutes and in no test, so a renamed class or argument would be noticed late."""
    found = subprocess.run(
        [sys.executable, "-m", "mypy", "--no-error-summary", "benchmarks"], capture_output=True, text=True, cwd=ROOT
    )
    broken = [line for line in found.stdout.splitlines() if line.endswith(("[attr-defined]", "[call-arg]"))]
    assert found.returncode in (0, 1), found.stderr
    assert not broken, "\n".join(broken)
