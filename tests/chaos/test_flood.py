"""The broker loses all its data while hundreds of jobs wait; the job table knows them all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading

from leym.client import Client
from tests.chaos.client import Submitter, insist
from tests.chaos.deployment import Deployment, await_gone, send
from tests.chaos.faults import with_redis
from tests.chaos.verdict import check_ledger, digest
from tests.support.service import until

LONG = bool(os.environ.get("CHAOS_REPORTS"))
QUEUED, SLOTS = (512, 8) if LONG else (64, 4)  # SLOTS of each of the two workers
SPEC = {"law": "tiny", "grid": [16, 16], "precision": "fp32", "observe": {"every": 20, "names": ["activity"]}}
SPEC |= {"record": [{"field": "psi", "every": 20}]}


def test_every_job_ends_after_the_broker_has_lost_all_data(tmp_path):
    deployment = Deployment(tmp_path, slots=SLOTS)
    specs = [SPEC | {"steps": steps, "seed": steps} for steps in (60, 80, 300)]
    with deployment.running(), Client(deployment.url) as client:
        submitter = Submitter(deployment.url, specs, tmp_path / "ledger.jsonl", seed=1, live=0)
        quiet = [submitter.submit(spec) for spec in specs]
        for entry in quiet:
            client.job(entry.id).wait(240)
        truth = {json.dumps(entry.spec): digest(client, entry.id, entry.spec) for entry in quiet}

        def states():
            return insist(deployment.url, "GET", "/v1/queue")["states"]

        def submit(spec, n):
            threads = [threading.Thread(target=lambda: [submitter.submit(spec) for _ in range(n // 4)]) for _ in "1234"]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

        with deployment.ordered("store", mode="hold"):  # on a fast machine, too, the jobs in the slots do not end
            submit(specs[2], 2 * SLOTS)
            until(lambda: states()["running"] >= 2 * SLOTS, what="every slot is taken")
            submit(specs[0], QUEUED // 2)
            submit(specs[1], QUEUED // 2)
            now = states()
            assert now["running"] + now["queued"] == QUEUED + 2 * SLOTS
            assert now["queued"] >= QUEUED // 2  # a worker claims a few jobs more than it has slots
            assert with_redis(lambda redis: redis.flushall())(deployment, submitter.random)
            pids = deployment.pids("valkey")
            shutil.rmtree(deployment.service.data / "valkey")
            for pid in pids:
                send(pid, signal.SIGKILL)
            await_gone(pids)
        until(lambda: states()["queued"] + states()["running"] == 0, 900, "all have ended")
        found = check_ledger(client, submitter.entries, [], truth)
    assert found["violations"] == []
    assert found["states"] == {"succeeded": len(specs) + QUEUED + 2 * SLOTS}
