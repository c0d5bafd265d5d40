"""A whole service and Flower as users of the broker, over TLS."""

from __future__ import annotations

import os
import signal

from tests.support.service import until


def test_the_service_runs_as_its_user_and_asks_for_nothing_more(guarded, broker):
    client = guarded.client
    done = client.submit("tiny", (8, 8), 40, {"phase": 5}, priority=9)
    assert [frame.step for frame in done.stream()] == list(range(0, 41, 5))
    long = client.submit("tiny", (32, 32), 1_000_000, {"phase": 50})
    until(lambda: long.refresh().step > 50, what="some progress")
    [pid] = guarded.worker_pids()
    os.kill(pid, signal.SIGKILL)
    until(lambda: long.refresh().as_dict()["epoch"] > 1, what="it goes on with another worker")
    assert long.cancel().state == "cancelled"
    assert client.submit("tiny", (8, 8), 20).wait(240).state == "succeeded"
    assert broker.refused() == []
    assert "NOPERM" not in guarded.log.read_text()


def test_flower_sees_and_revokes_jobs_as_its_user_and_asks_for_nothing_more(guarded, broker):
    job = guarded.client.submit("tiny", (32, 32), 1_000_000)
    until(lambda: job.refresh().step > 0, what="some progress")
    until(lambda: (guarded.of_flower("/api/tasks") or {}).get(job.id, {}).get("state") == "STARTED", what="it is seen")
    [queue] = guarded.of_flower("/api/queues/length")["active_queues"]
    assert queue == {"name": "leym", "messages": 0}
    assert "Revoked" in guarded.of_flower(f"/api/task/revoke/{job.id}?terminate=true", b"")["message"]
    until(lambda: job.refresh().state == "cancelled", what="its revocation")
    assert broker.refused() == []
