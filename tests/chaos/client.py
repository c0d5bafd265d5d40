"""The submitting client: plain HTTP, a key for every job, and a ledger on disk of what was answered.

It knows nothing of the service but its contract, and trusts nothing but what it was told.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

PAUSE_S = 0.1
REQUEST_S = 30.0


@dataclass
class Entry:
    """One job: what was asked and what was answered."""

    key: str
    spec: dict[str, Any]
    id: str = ""
    cancelled: bool = False
    states: list[str] = field(default_factory=list)  # each change of state that a look found


class Refused(AssertionError):
    """An answer that the contract does not allow here."""


def ask(url: str, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any]:
    """Status and JSON. Raises OSError or HTTPException when there was no whole answer."""
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
    """Ask until there is an answer. 5xx and no answer at all are the service's right under faults, 4xx are not."""
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
    """Keeps about `live` jobs waiting or running, of random specs, and cancels some of them."""

    def __init__(self, url: str, specs: list[dict[str, Any]], ledger: Path, seed: int, live: int):
        super().__init__(name="submitter", daemon=True)
        self.url, self.specs, self.ledger, self.live = url, specs, ledger, live
        self.random = random.Random(seed)
        self.entries: list[Entry] = []
        self.error: BaseException | None = None
        self._stopping = threading.Event()

    def submit(self, spec: dict[str, Any]) -> Entry:
        """Returns when it was accepted; by then the ledger has it."""
        entry = Entry(f"{self.random.getrandbits(128):032x}", spec)
        self.entries.append(entry)
        entry.id = insist(self.url, "POST", "/v1/jobs", spec, entry.key)["id"]
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
                entry = self.submit(self.random.choice(self.specs))
                chance = self.random.random()
                if chance < 0.1:  # an answer that was lost: the same request once more
                    again = insist(self.url, "POST", "/v1/jobs", entry.spec, entry.key)["id"]
                    assert again == entry.id, f"one key, two jobs: {entry.id}, {again}"
                elif chance < 0.15:
                    entry.cancelled = True
                    insist(self.url, "POST", f"/v1/jobs/{entry.id}/cancel")
        except BaseException as error:
            self.error = error
            raise

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
    """What one reader was told of one job: steps of frames, as they came."""

    job: str
    steps: list[int] = field(default_factory=list)


class Reader(threading.Thread):
    """Streams jobs, one after the other, and goes on behind the last step it saw when a stream breaks."""

    def __init__(self, submitter: Submitter, seed: int):
        super().__init__(name="reader", daemon=True)
        self.submitter, self.random = submitter, random.Random(seed)
        self.streams: list[Stream] = []
        self._stopping = threading.Event()

    def run(self) -> None:
        while not self._stopping.is_set():
            known = {stream.job for stream in self.streams}
            fresh = [entry.id for entry in list(self.submitter.entries)[-8:] if entry.id and entry.id not in known]
            if not fresh:
                self._stopping.wait(PAUSE_S)
                continue
            self.streams.append(stream := Stream(self.random.choice(fresh)))
            while not self._stopping.is_set() and not self._follow(stream):
                time.sleep(PAUSE_S)

    def stop(self) -> None:
        """The last one is cut off where it is."""
        self._stopping.set()
        self.join(60)

    def _follow(self, stream: Stream) -> bool:
        """Whether the end was told."""
        parts = urlsplit(self.submitter.url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=REQUEST_S)
        try:
            last = {"Last-Event-ID": str(stream.steps[-1])} if stream.steps else {}
            connection.request("GET", f"/v1/jobs/{stream.job}/events", headers=last)
            answer = connection.getresponse()
            if answer.status != 200:
                return answer.status == 204  # the job has ended with the last step that was seen
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
