"""Settings of gunicorn: `gunicorn --config python:app.gunicorn app.wsgi:app`. Command-line options override them.

There are many threads, since a stream or a long poll holds one, and few processes, since each opens the job table.
"""

from __future__ import annotations

import json
import resource
import sys
import tempfile
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType
from typing import Any

from app import shared_counters
from app.concurrency_limits import SHORT_REQUEST_THREADS
from leym.settings import settings

settings()  # invalid settings end this process before it starts anything


class WithoutPandas(MetaPathFinder):
    """Refuses to import pandas, which pyarrow does with its first array: 45 MB that the API has no use for."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Find nothing. Raises ImportError for pandas."""
        if fullname == "pandas":
            raise ImportError("the API does not use pandas")


sys.meta_path.insert(0, WithoutPandas())
OPEN_FILES = 2**16  # per process, if the system allows so many; each connection is one
CONFIG_ERROR = 78  # EX_CONFIG of sysexits.h
SHARED_MEMORY = "/dev/shm"  # noqa: S108 - tmpfs; gunicorn creates its files safely


def _is_writable(folder: str) -> bool:
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


bind = "127.0.0.1:8000"
worker_class = "app.gunicorn_worker.HeadFirstWorker"
workers = 2
threads = settings().streams + settings().transfers + SHORT_REQUEST_THREADS  # upper limit; threads start on demand
worker_connections = (
    2048  # idle, half-sent or being answered; at the limit, the oldest that no thread answers is closed
)
timeout = 120
graceful_timeout = 15
keepalive = 5
control_socket_disable = True  # its default path is the same for all services of one user
worker_tmp_dir = SHARED_MEMORY if _is_writable(SHARED_MEMORY) else None  # on a disk, heartbeats would wait for writes


def on_starting(server: Any) -> None:
    """Check the address, raise the limit of open files and make the shared counters, before any worker starts."""
    _refuse_public_address(server)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    shared_counters.share()


def _refuse_public_address(server: Any) -> None:
    """Stop the server if others can reach its address although the service has no tokens."""
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
        server.log.warning("there are no tokens: anybody who reaches this address has full access (leym tokens create)")


def pre_fork(server: Any, worker: Any) -> None:
    """Assign a region of the shared counters to a new worker process."""
    worker.region = shared_counters.assign()


def post_fork(server: Any, worker: Any) -> None:
    """Use the assigned region of the shared counters in the new worker process."""
    shared_counters.use(worker.region)


def child_exit(server: Any, worker: Any) -> None:
    """Release the region of a worker process that has ended."""
    shared_counters.release(worker.region)


def post_worker_init(worker: Any) -> None:
    """Prepare a worker process: errors of gunicorn become problems, and streams end when the process stops."""
    from app import shutdown

    _answer_with_problems(worker.cfg)
    shutdown.watch(lambda: not worker.alive)


def _answer_with_problems(cfg: Any) -> None:
    """Make gunicorn answer with problems when it refuses a request before the app sees it.

    gunicorn has no hook for that, so this replaces the function that its workers call for every refusal.
    """
    from gunicorn import util

    from leym.contract.problems import Problem

    details = {
        414: f"the request line has more than {cfg.limit_request_line} bytes",
        431: f"the header has more than {cfg.limit_request_fields} fields, or one of more than"
        f" {cfg.limit_request_field_size} bytes",
        500: "the service's log has the details",
    }

    def write_problem(sock: Any, status: int, reason: str, message: str) -> None:
        body = json.dumps(Problem(status, reason, details.get(status, message[:200])).as_dict()).encode()
        head = (
            f"HTTP/1.1 {status} {reason}\r\nConnection: close\r\nContent-Type: application/problem+json\r\n"
            f"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        util.write_nonblock(sock, head.encode("latin1") + body)

    util.write_error = write_problem
