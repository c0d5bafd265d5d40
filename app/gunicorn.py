"""Gunicorn's settings: `gunicorn --config python:app.gunicorn app.wsgi:app`. Options of the command line win.

A stream or a long poll holds a thread, therefore many threads; processes are few because each opens the job table.
"""

from __future__ import annotations

import json
import resource
import tempfile
from typing import Any

from app import shared_counters
from app.places import OTHER_THREADS
from leym.settings import settings

settings()  # before anything is started: wrong ones end this process

FILES = 2**16  # open files of a process, if the system allows so many: a connection is one


def _writable(folder: str) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


bind = "127.0.0.1:8000"
worker_class = "app.gunicorn_worker.HeadFirstWorker"
workers = 2
threads = settings().streams + settings().transfers + OTHER_THREADS  # made as they are needed
worker_connections = 2048  # idle, half-sent or with a thread; the oldest without one makes room
timeout = 120
graceful_timeout = 15
keepalive = 5
control_socket_disable = True  # it would be one file for all services of this user
worker_tmp_dir = "/dev/shm" if _writable("/dev/shm") else None  # in memory, or a heartbeat waits for the disk

CONFIG_ERROR = 78  # exit code, as in sysexits.h


def on_starting(server: Any) -> None:
    """Refuses an address that others reach while there is no token."""
    _guard(server)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    shared_counters.share()


def _guard(server: Any) -> None:
    from gunicorn.errors import HaltServer

    from app.identity import check_address
    from leym.jobs.table import open_table

    table = open_table(settings())
    has_tokens = table.has_tokens()
    table.close()
    if refusal := check_address(server.cfg.address, has_tokens, settings().proxies):
        server.log.error(refusal)
        raise HaltServer(refusal, CONFIG_ERROR)
    if not has_tokens:
        server.log.warning("there are no tokens: whoever reaches this address may do everything (leym tokens create)")


def pre_fork(server: Any, worker: Any) -> None:
    worker.region = shared_counters.assign()


def post_fork(server: Any, worker: Any) -> None:
    shared_counters.use(worker.region)


def post_worker_init(worker: Any) -> None:
    from app import shutdown

    _answer_with_problems(worker.cfg)
    shutdown.watch(lambda: not worker.alive)


def _answer_with_problems(cfg: Any) -> None:
    """Make gunicorn answer with problems too, where it refuses a request before the app sees it.

    It has no hook for that: its workers look this function up at every refusal.
    """
    from gunicorn import util

    from leym.contract.problems import Problem

    details = {
        414: f"the request line has more than {cfg.limit_request_line} bytes",
        431: f"the header has more than {cfg.limit_request_fields} fields, or one of more than"
        f" {cfg.limit_request_field_size} bytes",
        500: "the log of the service has more",
    }

    def write_problem(sock: Any, status: int, reason: str, message: str) -> None:
        body = json.dumps(Problem(status, reason, details.get(status, message[:200])).as_dict()).encode()
        head = (
            f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
            f"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        util.write_nonblock(sock, head.encode("latin1") + body)

    util.write_error = write_problem


def child_exit(server: Any, worker: Any) -> None:
    shared_counters.release(worker.region)
