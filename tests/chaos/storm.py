"""A storm: quiet runs for the truth, then a schedule of faults under load, then calm, then the verdict."""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Sequence
from typing import Any

from leym.client import Client
from tests.chaos.client import Entry, Reader, Submitter, insist
from tests.chaos.deployment import House
from tests.chaos.faults import FAULTS, Fault
from tests.chaos.verdict import EVERY, FINAL, digest, hold_against
from tests.conftest import until

log = logging.getLogger(__name__)

LIVE = 8  # jobs that wait or run: as many as there are slots
POISON = 666  # the seed of a job that kills whoever would commit it
RECOVERY_S, CALM_S = 120.0, 300.0  # limits against hanging


def schedule(house: House, seed: int, n: int) -> list[Fault]:
    """Every fault that fits this house, in random order, again and again until there are `n`."""
    chance, found = random.Random(seed), []
    while len(found) < n:
        found += chance.sample(fitting := [fault for fault in FAULTS if fault.fits(house)], len(fitting))
    return found[:n]


def specs(laws: Sequence[str]) -> list[dict[str, Any]]:
    """Short and long jobs of every law."""
    record = [{"field": "psi", "every": 60}, {"field": "phase", "every": EVERY}]
    kind = {"grid": [16, 16], "record": record, "observe": {"every": EVERY, "names": ["coherence", "activity"]}}
    lengths = {"tiny": (300, 900), "noisy": (600, 2000), "unet_convlstm": (60, 240)}
    return [
        {"law": law, "steps": steps, "seed": 7 + steps, "precision": "fp32", **kind}
        for law in laws
        for steps in lengths[law]
    ]


def play(house: House, faults: Sequence[Fault], seed: int) -> dict[str, Any]:
    """The report: each fault with what became of it, and the verdict. The service must have been started."""
    wanted, chance = specs(house.laws), random.Random(seed)
    with Client(house.url) as client:
        submitter = Submitter(house.url, wanted, house.folder / "ledger.jsonl", seed, LIVE)
        quiet = [submitter.submit(spec) for spec in wanted]
        for entry in quiet:
            client.job(entry.id).wait(CALM_S)
        truth = {json.dumps(entry.spec): digest(client, entry.id, entry.spec) for entry in quiet}
        with house.ordered("poison", seed=POISON):
            readers = [Reader(submitter, seed + i) for i in range(3)]
            for thread in (submitter, *readers):
                thread.start()
            until(lambda: len(_running(house.url)) >= 4, what="jobs run")
            poison = submitter.submit(wanted[0] | {"seed": POISON})
            told = [_strike(house, fault, chance, submitter) for fault in faults]
            submitter.stop()
            _calm(house.url, submitter.entries)
        for reader in readers:
            reader.stop()
        streams = [stream for reader in readers for stream in reader.streams]
        found = hold_against(client, submitter.entries, streams, truth, {poison.id})
    return {"seed": seed, "faults": told, **found}


def _strike(house: House, fault: Fault, chance: random.Random, submitter: Submitter) -> dict[str, Any]:
    """The fault, and how long after it no job stays with a dead worker (released_s), and every job that ran when it
    began has come further or ended (recovered_s)."""
    time.sleep(chance.uniform(0.0, 1.0))
    before = _running(house.url)
    happened = fault.harm(house, chance)
    after = time.monotonic()
    times = []
    for done in (_released, _further):
        for job_id, then in before.items():
            until(lambda: done(then, _job(house.url, job_id)), RECOVERY_S, f"{job_id} after: {fault.name}")  # noqa: B023
        times.append(round(time.monotonic() - after, 2))
    for entry in list(submitter.entries):
        if entry.id in before:
            entry.states.append(_job(house.url, entry.id)["state"])
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
