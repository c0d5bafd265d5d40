"""When the autoscaler starts workers and when it drains them."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from workers.supervisor import up
from workers.supervisor.autoscaler import DRAIN_S, Limits, Look, Seen, autoscale_range, decide

LIMITS = Limits(0, 3, idle_s=10)


def seen(name="w0", busy=0, waiting=0, speed=1000.0, idle=0.0):
    return Seen(name, busy, waiting, 4, speed, idle)


def look(queued=0, cell_steps=0, ready=(), starting=0, pressed=0, paused=False):
    return Look(queued, cell_steps, tuple(ready), starting, pressed, paused)


def test_a_waiting_job_starts_the_first_worker_and_a_starting_one_counts():
    assert decide(look(), LIMITS).start == 0
    assert decide(look(queued=1), LIMITS).start == 1
    assert decide(look(queued=100, starting=1), LIMITS).start == 0
    assert decide(look(queued=1, paused=True), LIMITS).start == 0


def test_the_least_number_of_workers_is_kept():
    limits = Limits(2, 3, idle_s=10)
    assert decide(look(), limits).start == 2
    assert decide(look(starting=1), limits).start == 1
    two_idle = [seen("a", idle=99), seen("b", idle=99)]
    assert decide(look(ready=two_idle), limits).drain == ()
    assert len(decide(look(ready=[*two_idle, seen("c", idle=99)]), limits).drain) == 1


def test_a_long_backlog_starts_another_worker_only_when_it_stays_and_slots_are_full():
    full = seen(busy=4, speed=1000)
    long, short = int(1000 * DRAIN_S * 2), int(1000 * DRAIN_S / 2)
    first = decide(look(queued=5, cell_steps=long, ready=[full]), LIMITS)
    assert (first.start, first.pressed) == (0, 1)
    assert decide(look(queued=5, cell_steps=long, ready=[full], pressed=first.pressed), LIMITS).start == 1
    assert decide(look(queued=5, cell_steps=short, ready=[full], pressed=1), LIMITS).start == 0
    assert decide(look(queued=5, cell_steps=long, ready=[seen(busy=2)], pressed=1), LIMITS).start == 0
    three = [seen(str(i), busy=4) for i in range(3)]
    assert decide(look(queued=5, cell_steps=long * 9, ready=three, pressed=1), LIMITS).start == 0


def test_only_workers_idle_for_long_are_drained_and_none_while_jobs_wait():
    fleet = [seen("a", idle=11), seen("b", busy=1), seen("c", idle=9), seen("d", waiting=1, idle=99)]
    assert decide(look(ready=fleet), LIMITS).drain == ("a",)
    assert decide(look(queued=1, cell_steps=1, ready=fleet), LIMITS).drain == ()


def test_a_machine_may_have_no_worker_because_they_run_elsewhere(monkeypatch):
    asked = []
    monkeypatch.setattr(up, "run", asked.append)
    CliRunner().invoke(up.app, ["--workers", "0"])
    assert [options.workers for options in asked] == [0]
    assert decide(Look(5, 100, (), 0, 0), Limits(0, 0, idle_s=10)).start == 0
    with pytest.raises(SystemExit):
        up.app(["--slots", "0"])
    assert len(asked) == 1


@pytest.mark.parametrize("text", ["", "1", "2:1", "a:b", "0:0", "-1:2", "1:2:3", "1:9999999", "1:²"])
def test_a_wrong_range_is_refused(text):
    with pytest.raises(ValueError, match="expected min:max"):
        autoscale_range(text)
