"""Runs inside the service's processes in a chaos run: Python imports it at their start, by PYTHONPATH.

It obeys orders, which are files in the folder $LEYM_CHAOS; without that folder it changes nothing:

    kill.POINT     the first process that reaches the point takes the file and kills itself
    store          {"mode": "slow" | "fail" | "full", "pause_s": ...}: how puts to the frame store behave;
                   {"mode": "hold"}: they wait until the order is withdrawn
    clock          {"offset_s": ..., "roles": [...]}: shifts time.time() in the processes of these roles
    poison         {"seed": ...}: a process that would commit a job, or a block with a live member, with this seed
                   kills itself
"""

from __future__ import annotations

import errno
import functools
import json
import os
import signal
import sys
import time
from pathlib import Path

ORDERS = Path(os.environ.get("LEYM_CHAOS", "/nonexistent"))
COMMAND = " ".join(sys.orig_argv)
ROLE = "worker" if "workers.celery_app" in COMMAND else "api" if "app.wsgi" in COMMAND else "other"


def order(name: str) -> dict | None:
    try:
        return json.loads((ORDERS / name).read_text())
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def reach(point: str) -> None:
    try:
        os.rename(ORDERS / f"kill.{point}", ORDERS / f"taken.{point}")
    except OSError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def around(owner: object, name: str, before: str = "", after: str = "", only=lambda result: True) -> None:
    """Add points before and after a method."""
    method = getattr(owner, name)

    @functools.wraps(method)
    def wrapped(*args, **kwargs):
        if before:
            reach(before)
        result = method(*args, **kwargs)
        if after and only(result):
            reach(after)
        return result

    setattr(owner, name, wrapped)


def inside_files() -> None:
    """Add points between the write of an object's bytes and its rename."""
    from leym.common import files

    for name, point in (("fsync", "data.unsynced"), ("replace", "data.unnamed")):
        real = getattr(os, name)

        def seen(*args, real=real, point=point, **kwargs):
            if sys._getframe(1).f_globals.get("__name__") == files.__name__:
                reach(point)
            return real(*args, **kwargs)

        setattr(os, name, seen)


def disturb_puts(cls: type) -> None:
    """Make puts slow or fail when ordered, and add a point after an object is stored."""
    put = cls.put

    @functools.wraps(put)
    def wrapped(self, key, *parts):
        while (found := order("store")) and found["mode"] == "hold":
            time.sleep(0.02)
        if found:
            time.sleep(found["pause_s"])
            if found["mode"] != "slow":
                raise OSError(errno.ENOSPC if found["mode"] == "full" else errno.EIO, "chaos", key)
        put(self, key, *parts)
        reach("checkpoint.stored" if "/checkpoints/" in key else "data.stored")

    cls.put = wrapped


def wrong_clock() -> None:
    real = time.time

    def shifted() -> float:
        found = order("clock")
        return real() + (found["offset_s"] if found and ROLE in found["roles"] else 0.0)

    time.time = shifted


def seeds_of(table: object, job: object) -> set[int]:
    """Return the seeds of the live members of a row, which may be a job of its own."""
    from leym.contract.member_states import MemberStates
    from leym.contract.ranges import unpack_ranges

    if not (job.sweep and job.indices):
        return {job.spec.get("seed")}
    live = MemberStates.parse(job.member_states, job.members).live
    return set(table.sweep_plan(job.sweep).column("seed", unpack_ranges(job.indices)[live]))


def poison(table: type) -> None:
    commit, claim, poisonous = table.commit, table.claim, set()

    @functools.wraps(claim)
    def claimed(self, *args, **kwargs):
        result = claim(self, *args, **kwargs)
        if result and (found := order("poison")) and found["seed"] in seeds_of(self, result.job):
            poisonous.add(result.job.id)
        return result

    @functools.wraps(commit)
    def committed(self, job_id, *args, **kwargs):
        if job_id in poisonous:
            os.kill(os.getpid(), signal.SIGKILL)
        return commit(self, job_id, *args, **kwargs)

    table.claim, table.commit = claimed, committed


def blocks_of_several(members: int) -> None:
    """Divide sweeps by the number of members alone: an eager law on two cores is too slow for blocks of several."""
    from leym.jobs import block_size

    block_size.MEMBERS, block_size.TARGET_S, block_size.SPREAD_S = members, 1e9, 1e9


def install() -> None:
    wrong_clock()
    from leym import tickets
    from leym.events import Events
    from leym.frames.stores.files import FileStore
    from leym.frames.stores.s3 import S3Store
    from leym.jobs.table import JobTable

    if ROLE == "worker":
        from celery.worker.request import Request

        inside_files()
        around(JobTable, "claim", "claim.before", "claim.after", only=bool)
        around(JobTable, "commit", "commit.before", "commit.after")
        around(JobTable, "finish", "finish.before", "finish.after")
        around(JobTable, "hand_back", "handback.before", "handback.after")
        around(JobTable, "renew", "", "renew.after")
        around(Events, "announce", "", "event.after")
        around(Request, "acknowledge", "ack.before", "ack.after")
        poison(JobTable)
        disturb_puts(FileStore)
        disturb_puts(S3Store)
    if ROLE == "api":
        blocks_of_several(5)
        around(JobTable, "submit", "submit.before", "submit.after")
        around(JobTable, "submit_sweep", "submit.before", "submit.after")
        around(tickets, "send", "", "ticket.sent")
        around(JobTable, "mark_ticketed", "", "ticket.noted")
        around(JobTable, "cancel", "", "cancel.after")
        around(JobTable, "cancel_sweep", "", "cancel.after")
        around(JobTable, "pause_sweep", "", "pause.after")
        around(JobTable, "resume_sweep", "", "resume.after")
    around(JobTable, "reap", "", "reap.after", only=bool)
    (ORDERS / "alive").mkdir(exist_ok=True)
    (ORDERS / "alive" / f"{ROLE}.{os.getpid()}").touch()


if ORDERS.is_dir() and ROLE != "other":
    install()
