"""A storm: runs without faults as reference, a schedule of faults under load, calm, and the verdict."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Sequence
from typing import Any

from leym.client import Client
from tests.chaos.client import Entry, Reader, Submitter, insist
from tests.chaos.deployment import Deployment
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.verdict import EVERY, FINAL, check_ledger, digest
from tests.support.service import until

log = logging.getLogger(__name__)

LIVE = 8  # jobs that wait or run: as many as there are slots
POISON = 666  # the seed of a job that kills every process that would commit it
RECOVERY_S, CALM_S = 120.0, 300.0  # limits against hanging


def schedule(deployment: Deployment, seed: int, n: int) -> list[Fault]:
    """Return `n` faults that fit this deployment: all in random order, then all again."""
    chance, found = random.Random(seed), []
    while len(found) < n:
        found += chance.sample(fitting := [fault for fault in FAULTS if fault.fits(deployment)], len(fitting))
    return found[:n]


def specs(laws: Sequence[str]) -> list[dict[str, Any]]:
    """Make the specs of short and long jobs of every law."""
    record = [{"field": "psi", "every": 60}, {"field": "phase", "every": EVERY}]
    kind = {"grid": [16, 16], "record": record, "observe": {"every": EVERY, "names": ["coherence", "activity"]}}
    lengths = {"tiny": (300, 900), "noisy": (600, 2000), "unet_convlstm": (60, 240)}
    return [
        {"law": law, "steps": steps, "seed": 7 + steps, "precision": "fp32", **kind}
        for law in laws
        for steps in lengths[law]
    ]


def play(deployment: Deployment, faults: Sequence[Fault], seed: int) -> dict[str, Any]:
    """Play the faults on a running deployment; return each with its recovery times, and the verdict."""
    wanted, chance = specs(deployment.laws), random.Random(seed)
    with Client(deployment.url) as client:
        submitter = Submitter(deployment.url, wanted, deployment.folder / "ledger.jsonl", seed, LIVE)
        quiet = [submitter.submit(spec) for spec in wanted]
        for entry in quiet:
            client.job(entry.id).wait(CALM_S)
        truth = {json.dumps(entry.spec): digest(client, entry.id, entry.spec) for entry in quiet}
        with deployment.ordered("poison", seed=POISON):
            readers = [Reader(submitter, seed + i) for i in range(3)]
            for thread in (submitter, *readers):
                thread.start()
            until(lambda: len(_running(deployment.url)) >= 4, what="jobs run")
            poison = submitter.submit(wanted[0] | {"seed": POISON})
            struck = [_strike(deployment, fault, chance, submitter) for fault in faults]
            submitter.stop()
            _calm(deployment.url, submitter.entries)
        for reader in readers:
            reader.stop()
        streams = [stream for reader in readers for stream in reader.streams]
        found = check_ledger(client, submitter.entries, streams, truth, {poison.id})
    return {"seed": seed, "faults": struck, **found}


def _strike(deployment: Deployment, fault: Fault, chance: random.Random, submitter: Submitter) -> dict[str, Any]:
    """Do the harm of a fault and measure the recovery of the jobs that ran when it began.

    released_s: until no job is claimed by a dead worker; recovered_s: until every job has made progress or ended.
    """
    time.sleep(chance.uniform(0.0, 1.0))
    before = _running(deployment.url)
    happened = fault.harm(deployment, chance)
    after = time.monotonic()
    times = []
    for done in (_released, _further):
        for job_id, then in before.items():
            until(lambda: done(then, _job(deployment.url, job_id)), RECOVERY_S, f"{job_id} after: {fault.name}")  # noqa: B023
        times.append(round(time.monotonic() - after, 2))
    for entry in list(submitter.entries):
        if entry.id in before:
            entry.states.append(_job(deployment.url, entry.id)["state"])
    assert submitter.error is None, submitter.error
    log.info("%s: %s, released %.1f s, recovered %.1f s", fault.name, happened, *times)
    return {"name": fault.name, "kills": fault.kills, "happened": happened} | dict(
        zip(("released_s", "recovered_s"), times, strict=True)
    )


def _job(url: str, job_id: str) -> dict[str, Any]:
    record: dict[str, Any] = insist(url, "GET", f"/v1/jobs/{job_id}")
    return record


def _further(then: dict[str, Any], now: dict[str, Any]) -> bool:
    return now["step"] > then["step"] or now["state"] in FINAL


def _released(then: dict[str, Any], now: dict[str, Any]) -> bool:
    return _further(then, now) or now["state"] == "queued" or now["epoch"] > then["epoch"]


def _running(url: str) -> dict[str, dict[str, Any]]:
    return {job["id"]: job for job in insist(url, "GET", "/v1/jobs?state=running&limit=100")["items"]}


def _calm(url: str, entries: list[Entry]) -> None:
    def unfinished() -> int:
        counts = insist(url, "GET", "/v1/queue")["states"]
        return int(counts["queued"] + counts["running"])

    until(lambda: unfinished() == 0, CALM_S, "every job has ended")
    assert all(entry.id for entry in entries)
