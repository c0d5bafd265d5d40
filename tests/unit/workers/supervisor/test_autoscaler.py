"""The autoscaler's decisions: when it starts workers and when it drains them."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from workers.supervisor import up
from workers.supervisor.autoscaler import DRAIN_S, Limits, Observation, WorkerLoad, autoscale_range, decide

LIMITS = Limits(0, 3, idle_s=10)


def load(name="w0", busy=0, waiting=0, speed=1000.0, idle=0.0):
    return WorkerLoad(name, busy, waiting, 4, speed, idle)


def observed(queued=0, cell_steps=0, ready=(), starting=0, overloaded_ticks=0, paused=False):
    return Observation(queued, cell_steps, tuple(ready), starting, overloaded_ticks, paused)


def test_a_waiting_job_starts_the_first_worker_and_a_starting_one_counts():
    assert decide(observed(), LIMITS).start == 0
    assert decide(observed(queued=1), LIMITS).start == 1
    assert decide(observed(queued=100, starting=1), LIMITS).start == 0
    assert decide(observed(queued=1, paused=True), LIMITS).start == 0


def test_the_least_number_of_workers_is_kept():
    limits = Limits(2, 3, idle_s=10)
    assert decide(observed(), limits).start == 2
    assert decide(observed(starting=1), limits).start == 1
    two_idle = [load("a", idle=99), load("b", idle=99)]
    assert decide(observed(ready=two_idle), limits).drain == ()
    assert len(decide(observed(ready=[*two_idle, load("c", idle=99)]), limits).drain) == 1


def test_a_long_backlog_starts_another_worker_only_when_it_stays_and_slots_are_full():
    full = load(busy=4, speed=1000)
    long, short = int(1000 * DRAIN_S * 2), int(1000 * DRAIN_S / 2)
    first = decide(observed(queued=5, cell_steps=long, ready=[full]), LIMITS)
    assert (first.start, first.overloaded_ticks) == (0, 1)
    ticks = first.overloaded_ticks
    assert decide(observed(queued=5, cell_steps=long, ready=[full], overloaded_ticks=ticks), LIMITS).start == 1
    assert decide(observed(queued=5, cell_steps=short, ready=[full], overloaded_ticks=1), LIMITS).start == 0
    assert decide(observed(queued=5, cell_steps=long, ready=[load(busy=2)], overloaded_ticks=1), LIMITS).start == 0
    three = [load(str(i), busy=4) for i in range(3)]
    assert decide(observed(queued=5, cell_steps=long * 9, ready=three, overloaded_ticks=1), LIMITS).start == 0


def test_only_workers_idle_for_long_are_drained_and_none_while_jobs_wait():
    fleet = [load("a", idle=11), load("b", busy=1), load("c", idle=9), load("d", waiting=1, idle=99)]
    assert decide(observed(ready=fleet), LIMITS).drain == ("a",)
    assert decide(observed(queued=1, cell_steps=1, ready=fleet), LIMITS).drain == ()


def test_a_machine_may_have_no_worker_because_they_run_elsewhere(monkeypatch):
    asked = []
    monkeypatch.setattr(up, "run", asked.append)
    CliRunner().invoke(up.app, ["--workers", "0"])
    assert [options.workers for options in asked] == [0]
    assert decide(Observation(5, 100, (), 0, 0), Limits(0, 0, idle_s=10)).start == 0
    with pytest.raises(SystemExit):
        up.app(["--slots", "0"])
    assert len(asked) == 1


@pytest.mark.parametrize("text", ["", "1", "2:1", "a:b", "0:0", "-1:2", "1:2:3", "1:9999999", "1:²"])
def test_a_wrong_range_is_refused(text):
    with pytest.raises(ValueError, match="expected min:max"):
        autoscale_range(text)
