"""Clients of a storm: one submits jobs and sweeps with keys and keeps a ledger on disk, others read streams.

They use plain HTTP and nothing of the service's code, so that the ledger depends only on the answers.
"""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PAUSE_S = 0.2
REQUEST_S = 30.0
SWEEP_SHARE = 0.15  # sweeps among all that is submitted


@dataclass
class Entry:
    """One job or sweep of the ledger: its request and the answers."""

    key: str
    spec: dict[str, Any]
    id: str = ""
    cancelled: bool = False
    members_cancelled: list[int] = field(default_factory=list)
    states: list[str] = field(default_factory=list)  # as observed after each fault

    @property
    def is_sweep(self) -> bool:
        return "axes" in self.spec

    @property
    def path(self) -> str:
        return "/v1/sweeps" if self.is_sweep else "/v1/jobs"


class Refused(AssertionError):
    """The service gave an answer that its contract does not allow."""


def expanded(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the specs of the members of a sweep: every combination, the last axis fastest; or pairwise."""
    combine: Any = zip if sweep.get("mode") == "zip" else itertools.product
    return [sweep["base"] | dict(zip(sweep["axes"], point, strict=True)) for point in combine(*sweep["axes"].values())]


def ask(url: str, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any]:
    """Send a request; return status and JSON. Raises OSError or HTTPException if the answer is incomplete."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=REQUEST_S)
    try:
        headers = {"Content-Type": "application/json"} | ({"Idempotency-Key": key} if key else {})
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


def insist(url: str, method: str, path: str, body: Any = None, key: str = "", *, until_s: float = 120) -> Any:
    """Repeat a request until it succeeds. Under faults the service may answer 5xx or not at all, but never 4xx."""
    end = time.monotonic() + until_s
    while True:
        try:
            status, found = ask(url, method, path, body, key)
        except (OSError, http.client.HTTPException, ValueError) as error:
            status, found = 599, repr(error)
        if status < 400:
            return found
        if status < 500 or time.monotonic() > end:
            raise Refused(f"{method} {path}: {status} {found}")
        time.sleep(PAUSE_S)


class Submitter(threading.Thread):
    """Keeps about `live` jobs waiting or running, of random specs, and cancels some of them.

    sweeps: specs of sweeps to submit among the jobs; some are paused for a moment, hurried, or cancelled in part.
    """

    def __init__(
        self,
        url: str,
        specs: list[dict[str, Any]],
        ledger: Path,
        seed: int,
        live: int,
        sweeps: Sequence[dict[str, Any]] = (),
    ):
        super().__init__(name="submitter", daemon=True)
        self.url, self.specs, self.ledger, self.live, self.sweeps = url, specs, ledger, live, sweeps
        self.random = random.Random(seed)
        self.entries: list[Entry] = []
        self.error: BaseException | None = None
        self._stopping = threading.Event()

    def submit(self, spec: dict[str, Any]) -> Entry:
        """Submit a job or a sweep and write it to the ledger; return when it was accepted."""
        entry = Entry(f"{self.random.getrandbits(128):032x}", spec)
        self.entries.append(entry)
        entry.id = insist(self.url, "POST", entry.path, spec, entry.key)["id"]
        with self.ledger.open("a") as file:
            file.write(json.dumps(asdict(entry)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        return entry

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                if self._unfinished() >= self.live:
                    self._stopping.wait(PAUSE_S)
                    continue
                is_sweep = bool(self.sweeps) and self.random.random() < SWEEP_SHARE
                entry = self.submit(self.random.choice(self.sweeps if is_sweep else self.specs))
                chance = self.random.random()
                if chance < 0.1:  # as after a lost answer: the same request again
                    again = insist(self.url, "POST", entry.path, entry.spec, entry.key)["id"]
                    assert again == entry.id, f"one key, two jobs: {entry.id}, {again}"
                elif chance < 0.15:
                    entry.cancelled = True
                    insist(self.url, "POST", f"{entry.path}/{entry.id}/cancel")
                elif is_sweep:
                    self._steer(entry, chance)
        except BaseException as error:
            self.error = error
            raise

    def _steer(self, entry: Entry, chance: float) -> None:
        """Do to a sweep what a user may do while it runs."""
        at = f"{entry.path}/{entry.id}"
        self._stopping.wait(2 * self.random.random())  # it has begun, or has not
        if chance < 0.5:
            insist(self.url, "POST", f"{at}/pause")
            self._stopping.wait(self.random.random())
            insist(self.url, "POST", f"{at}/resume")
        elif chance < 0.7:
            entry.members_cancelled = self.random.sample(range(len(expanded(entry.spec))), 2)
            for index in entry.members_cancelled:
                insist(self.url, "POST", f"{at}/members/{index}/cancel")
        elif chance < 0.8:
            insist(self.url, "PATCH", at, {"priority": self.random.randrange(4, 10)})
        elif chance < 0.9:
            insist(self.url, "POST", f"{at}/retry")  # no member has failed

    def stop(self) -> None:
        self._stopping.set()
        self.join(150)
        if self.error:
            raise self.error

    def _unfinished(self) -> int:
        counts = insist(self.url, "GET", "/v1/queue")["states"]
        return int(counts["queued"] + counts["running"])


@dataclass
class Stream:
    """The steps of frames that one reader received of one job, in order."""

    job: str
    steps: list[int] = field(default_factory=list)


class Reader(threading.Thread):
    """Streams jobs, one after the other; when a stream breaks, it resumes after the last step."""

    def __init__(self, submitter: Submitter, seed: int):
        super().__init__(name="reader", daemon=True)
        self.submitter, self.random = submitter, random.Random(seed)
        self.streams: list[Stream] = []
        self._stopping = threading.Event()

    def run(self) -> None:
        known: set[str] = set()
        while not self._stopping.is_set():
            fresh = [entry for entry in list(self.submitter.entries)[-8:] if entry.id and entry.id not in known]
            if not fresh:
                self._stopping.wait(PAUSE_S)
                continue
            entry = self.random.choice(fresh)
            known.add(entry.id)
            self.streams.append(stream := Stream(self._job_of(entry)))
            while not self._stopping.is_set() and not self._follow(stream):
                time.sleep(PAUSE_S)

    def stop(self) -> None:
        """Stop; the last stream may be incomplete."""
        self._stopping.set()
        self.join(60)

    def _job_of(self, entry: Entry) -> str:
        """Return the id of the job to follow: a member if it is a sweep."""
        if not entry.is_sweep:
            return entry.id
        index = self.random.randrange(len(expanded(entry.spec)))
        return str(insist(self.submitter.url, "GET", f"{entry.path}/{entry.id}/members/{index}")["id"])

    def _follow(self, stream: Stream) -> bool:
        """Read events until the stream breaks; return whether the job's end was received."""
        parts = urlsplit(self.submitter.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=REQUEST_S)
        try:
            last = {"Last-Event-ID": str(stream.steps[-1])} if stream.steps else {}
            connection.request("GET", f"/v1/jobs/{stream.job}/events", headers=last)
            answer = connection.getresponse()
            if answer.status != 200:
                return answer.status == 204  # the job has ended with the last received step
            kind = step = ""
            while line := answer.readline().decode():
                name, _, value = line.rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "id":
                    step = value
                elif not line.strip():
                    if kind == "frame":
                        stream.steps.append(int(step))
                    elif kind == "end":
                        return True
                    kind = step = ""
                if self._stopping.is_set():
                    return False
        except (OSError, http.client.HTTPException, ValueError):
            pass
        finally:
            connection.close()
        return False
