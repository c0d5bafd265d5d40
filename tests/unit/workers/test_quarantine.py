"""A job that may have killed its workers runs alone."""

from __future__ import annotations

import threading
import time

from tests.support.service import until
from workers.quarantine import POLL_S, Quarantine


def test_a_last_attempt_is_made_alone():
    quarantine, begun, ending = Quarantine(), [], threading.Event()
    threads: dict[str, threading.Thread] = {}

    def start(job, suspect=False):
        def run():
            if quarantine.enter(job, suspect, ending.is_set):
                begun.append(job)

        threads[job] = threading.Thread(target=run)
        threads[job].start()

    def has_begun(*jobs):
        for job in jobs:
            threads[job].join(240)
        assert sorted(begun) == sorted(jobs)
        begun.clear()

    start("a")
    start("b")
    has_begun("a", "b")
    start("suspect", True)
    until(lambda: quarantine._waiting == 1)
    start("c")
    quarantine.release("a")
    time.sleep(2 * POLL_S)
    assert begun == [], "b has made no progress, and c waits behind the suspect"
    quarantine.release("b")
    has_begun("suspect")
    start("second", True)
    until(lambda: quarantine._waiting == 1)
    time.sleep(2 * POLL_S)
    assert begun == []
    quarantine.release("suspect")
    has_begun("second")
    quarantine.release("second")
    has_begun("c")
    start("third", True)
    until(lambda: quarantine._waiting == 1)
    ending.set()
    threads["third"].join(240)
    quarantine.release("c")
    assert begun == [], "the worker ended"
