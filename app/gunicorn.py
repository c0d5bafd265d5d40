"""Gunicorn's settings: `gunicorn --config python:app.gunicorn app.wsgi:app`. Options of the command line win.

A stream or a long poll holds a thread, therefore many threads; processes are few because each opens the job table.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import Any

from leym.settings import settings

settings()  # before anything is started: wrong ones end this process

bind = "127.0.0.1:8000"
worker_class = "gthread"
workers = 2
threads = 256  # made as they are needed
timeout = 120
graceful_timeout = 15
keepalive = 5
control_socket_disable = True  # it would be one file for all services of this user
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None

CONFIG_ERROR = 78  # exit code, as in sysexits.h

_metrics = "PROMETHEUS_MULTIPROC_DIR"
_made_here = not os.environ.get(_metrics)
if _made_here:  # before any worker imports prometheus_client, which looks once
    os.environ[_metrics] = tempfile.mkdtemp(prefix="leym-metrics-")


def on_starting(server: Any) -> None:
    """Refuses an address that others reach while there is no token. Files of earlier processes would be counted
    again."""
    _guard(server)
    folder = os.environ[_metrics]
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder, exist_ok=True)


def _guard(server: Any) -> None:
    from gunicorn.errors import HaltServer

    from app.identity import check_address
    from leym.jobs.table import open_table

    table = open_table(settings())
    has_tokens = table.has_tokens()
    table.close()
    if refusal := check_address(server.cfg.address, has_tokens):
        server.log.error(refusal)
        raise HaltServer(refusal, CONFIG_ERROR)
    if not has_tokens:
        server.log.warning("there are no tokens: whoever reaches this address may do everything (leym tokens create)")


def post_worker_init(worker: Any) -> None:
    from app import shutdown

    shutdown.watch(lambda: not worker.alive)


def child_exit(server: Any, worker: Any) -> None:
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)


def on_exit(server: Any) -> None:
    if _made_here:
        shutil.rmtree(os.environ[_metrics], ignore_errors=True)
