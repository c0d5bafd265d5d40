"""A storm: runs without faults as reference, a schedule of faults under load, calm, and the verdict."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Sequence
from typing import Any

from leym.client import Client
from leym.settings import Settings
from tests.chaos.client import Entry, Reader, Submitter, expanded, insist
from tests.chaos.deployment import Deployment
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.verdict import EVERY, FINAL, check_ledger, digest
from tests.support.service import until

log = logging.getLogger(__name__)

LIVE = 12  # jobs and members that wait or run: more than there are slots
POISON = 666  # the seed of a job or a member that kills every process that would commit it
LONG = 20  # faults of a storm that has time for a sweep with such a member: it kills until it is alone in its block
RECOVERY_S, CALM_S = 300.0, 600.0  # limits against hanging
LOOK_S = 0.2  # between two looks at the service, which has better things to do than to answer
SPARE = 2  # claims that a job can lose to one fault: the fault's own, and that of a store which does not answer yet


def schedule(deployment: Deployment, seed: int, n: int) -> list[Fault]:
    """Return `n` faults that fit this deployment: all in random order, then all again."""
    chance, found = random.Random(seed), []
    while len(found) < n:
        found += chance.sample(fitting := [fault for fault in FAULTS if fault.fits(deployment)], len(fitting))
    return found[:n]


RECORD = [{"field": "psi", "every": 60}, {"field": "phase", "every": EVERY}]
OBSERVE = {"every": EVERY, "names": ["coherence", "activity"]}
KIND: dict[str, Any] = {"grid": [16, 16], "record": RECORD, "observe": OBSERVE, "precision": "fp32"}


def specs(laws: Sequence[str], long: bool) -> list[dict[str, Any]]:
    """Make the specs of short and long jobs of every law; those of a short storm are shorter."""
    lengths = {"tiny": (300, 600), "noisy": (600, 1200), "unet_convlstm": (60, 180)}
    if not long:
        lengths = {"tiny": (180, 300), "noisy": (300, 600), "unet_convlstm": (60, 120)}
    return [{"law": law, "steps": steps, "seed": 7 + steps, **KIND} for law in laws for steps in lengths[law]]


def sweeps() -> list[dict[str, Any]]:
    """Make the specs of sweeps: of two shapes, of values side by side, and of the law that has a memory."""
    small = KIND | {"grid": [8, 8]}
    return [
        {"base": {"law": "tiny", **small}, "axes": {"steps": [60, 180], "seed": list(range(20, 28))}},
        {
            "base": {"law": "noisy", "steps": 240, **small},
            "axes": {"gamma": [0.0, 0.01, 0.05, 0.1], "seed": [31, 33, 32, 34]},
            "mode": "zip",
        },
        {"base": {"law": "unet_convlstm", "steps": 60, **small}, "axes": {"gamma": [0.0, 0.05], "seed": [61, 62]}},
    ]


def play(deployment: Deployment, faults: Sequence[Fault], seed: int) -> dict[str, Any]:
    """Play the faults on a running deployment; return each with its recovery times, and the verdict."""
    long = len(faults) >= LONG
    wanted, swept, chance = specs(deployment.laws, long), sweeps(), random.Random(seed)
    with Client(deployment.url) as client:
        submitter = Submitter(deployment.url, wanted, deployment.folder / "ledger.jsonl", seed, LIVE, swept)
        members = [spec for sweep in swept for spec in expanded(sweep)]  # here each is a job of its own
        quiet = [submitter.submit(spec) for spec in (*wanted, *members)]
        for entry in quiet:
            client.job(entry.id).wait(CALM_S)
        truth = {json.dumps(entry.spec): digest(client, entry.id, entry.spec) for entry in quiet}
        with deployment.ordered("poison", seed=POISON):
            readers = [Reader(submitter, seed + i) for i in range(3)]
            for thread in (submitter, *readers):
                thread.start()
            until(lambda: len(_running(deployment.url)) >= 4, what="jobs run", pause_s=LOOK_S)
            if long:
                poisoned = submitter.submit(swept[0] | {"axes": {"steps": [180], "seed": [20, 21, POISON, 22]}})
                client.get_sweep(poisoned.id).wait(CALM_S)  # faults are struck, and measured, after that
            struck = [_strike(deployment, fault, chance, submitter) for fault in faults]
            _await_spare_claims(deployment.url)
            submitter.submit(wanted[0] | {"seed": POISON})  # it kills as faults do, so it is not there while they do
            submitter.stop()
            _calm(deployment.url, submitter.entries)
        for reader in readers:
            reader.stop()
        streams = [stream for reader in readers for stream in reader.streams]
        found = check_ledger(client, submitter.entries, streams, truth, POISON)
    return {"seed": seed, "faults": struck, **found}


def _strike(deployment: Deployment, fault: Fault, chance: random.Random, submitter: Submitter) -> dict[str, Any]:
    """Do the harm of a fault and measure the recovery of the jobs that ran when it began.

    released_s: until no job is claimed by a dead worker; recovered_s: until every job has made progress or ended.
    """
    _await_spare_claims(deployment.url)
    time.sleep(chance.uniform(0.0, 1.0))
    before = _running(deployment.url)
    happened = fault.harm(deployment, chance)
    after = time.monotonic()
    times = []
    for done in (_released, _further):
        for job_id, then in before.items():
            until(lambda: done(then, _job(deployment.url, job_id)), RECOVERY_S, f"{job_id} after: {fault.name}", LOOK_S)  # noqa: B023
        times.append(round(time.monotonic() - after, 2))
    for entry in list(submitter.entries):
        if entry.id in before:
            entry.states.append(_job(deployment.url, entry.id)["state"])
    assert submitter.error is None, submitter.error
    log.info("%s: %s, released %.1f s, recovered %.1f s", fault.name, happened, *times)
    return {"name": fault.name, "kills": fault.kills, "happened": happened} | dict(
        zip(("released_s", "recovered_s"), times, strict=True)
    )


def _await_spare_claims(url: str) -> None:
    """Wait until every job may lose as many claims as a fault can cost it, and still have one.

    A job fails after `max_attempts` claims without progress, whoever killed its workers. On a slow machine a job of a
    slow law may have made no step when the next fault strikes, or may wait for a slot: it would fail, and rightly so.
    """
    most = Settings.model_fields["max_attempts"].default - SPARE

    def tired() -> list[str]:
        jobs = [job for state in ("queued", "running") for job in _listed(url, f"/v1/jobs?state={state}&limit=100")]
        for sweep in _unfinished_sweeps(url):
            jobs += _listed(url, f"/v1/sweeps/{sweep['id']}/jobs?limit=100")
        return [job["id"] for job in jobs if job["state"] in ("queued", "running") and job["attempts"] > most]

    until(lambda: not tired(), RECOVERY_S, "every job that has lost a claim has made progress", LOOK_S)


def _listed(url: str, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = insist(url, "GET", path)["items"]
    return found


def _unfinished_sweeps(url: str) -> list[dict[str, Any]]:
    return [s for s in _listed(url, "/v1/sweeps?limit=20") if s["counts"]["running"] or s["counts"]["queued"]]


def _job(url: str, job_id: str) -> dict[str, Any]:
    record: dict[str, Any] = insist(url, "GET", f"/v1/jobs/{job_id}")
    return record


def _further(then: dict[str, Any], now: dict[str, Any]) -> bool:
    return now["step"] > then["step"] or now["state"] in FINAL


def _released(then: dict[str, Any], now: dict[str, Any]) -> bool:
    return _further(then, now) or now["state"] == "queued" or now["epoch"] > then["epoch"]


def _running(url: str) -> dict[str, dict[str, Any]]:
    """Return the jobs by id that are in slots, and of each running sweep the member that has come furthest.

    A claimed job that has not made a step may wait for a slot.
    """
    found = _listed(url, "/v1/jobs?state=running&limit=100")
    for sweep in _unfinished_sweeps(url):
        running = [job for job in _listed(url, f"/v1/sweeps/{sweep['id']}/jobs") if job["state"] == "running"]
        found += sorted(running, key=lambda job: job["step"])[-1:]
    return {job["id"]: job for job in found if job["step"]}


def _calm(url: str, entries: list[Entry]) -> None:
    def unfinished() -> int:
        counts = insist(url, "GET", "/v1/queue")["states"]
        return int(counts["queued"] + counts["running"] + counts["paused"])

    until(lambda: unfinished() == 0, CALM_S, "every job has ended", LOOK_S)
    assert all(entry.id for entry in entries)
