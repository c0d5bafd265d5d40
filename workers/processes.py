"""Child processes of the supervisor: each has its own session and ends when the supervisor has ended."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leym.common.children import end_with_parent

log = logging.getLogger(__name__)

PROJECT_ROOT = Path(__file__).parents[1]  # gunicorn and Celery search the current folder first for `app` and `workers`
_IMPORTED = time.time()


def start(
    name: str,
    command: Sequence[str],
    env: Mapping[str, str],
    *,
    pass_fds: Sequence[int] = (),
    stdin: int = subprocess.DEVNULL,
    stdout: Any = None,
) -> Child:
    """Start a child process.

    Its output goes to this process's standard error: standard output is reserved for the line `ready URL`.

    Args:
        name: Its name in logs.
        command: Program and arguments.
        env: All of its environment.
        pass_fds: File descriptors that it inherits.
        stdin: Its standard input.
        stdout: Its standard output; None for this process's standard error.
    """
    process = subprocess.Popen(
        list(command),
        env=dict(env),
        cwd=PROJECT_ROOT,
        stdin=stdin,
        stdout=stdout or sys.stderr,
        pass_fds=pass_fds,
        start_new_session=True,  # Ctrl-C reaches the supervisor only, which ends its children in order
        preexec_fn=end_with_parent,
    )
    log.info("%s started, pid %d", name, process.pid)
    return Child(name, process)


class Child:
    """A child process."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]):
        self.name, self.process = name, process
        self._terminated = False

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self.process.poll()

    def terminate(self) -> None:
        """Send SIGTERM, at most once: a second one would end a worker before it has saved its jobs."""
        if self.exit_code is None and not self._terminated:
            self.process.send_signal(signal.SIGTERM)
            self._terminated = True

    def end(self, grace_s: float) -> int:
        """Send SIGTERM, after `grace_s` seconds SIGKILL, and return the exit code."""
        self.terminate()
        try:
            return self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            log.error("%s did not end within %.0f s and is killed", self.name, grace_s)
            os.killpg(self.pid, signal.SIGKILL)
            return self.process.wait()


def age_s() -> float:
    """Return the seconds since this process began, or, on a system without /proc, since this module was imported."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return time.time() - _IMPORTED
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
