"""Child processes of the supervisor: each in a session of its own, gone when the supervisor is gone."""

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

HOME = Path(__file__).parents[1]  # gunicorn and Celery look for `app` and `workers` in the current folder first
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
    """Its output goes to our standard error; standard output is kept for the line that says where we listen."""
    process = subprocess.Popen(
        list(command),
        env=dict(env),
        cwd=HOME,
        stdin=stdin,
        stdout=stdout or sys.stderr,
        pass_fds=pass_fds,
        start_new_session=True,  # Ctrl-C reaches the supervisor only, which ends the others in order
        preexec_fn=end_with_parent,
    )
    log.info("%s started, pid %d", name, process.pid)
    return Child(name, process)


class Child:
    """One process."""

    def __init__(self, name: str, process: subprocess.Popen[bytes]):
        self.name, self.process = name, process
        self._asked = False

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.process.poll()

    def ask_to_end(self) -> None:
        """Once: a second SIGTERM would end it in the middle of its last doings."""
        if self.exit_code is None and not self._asked:
            self.process.send_signal(signal.SIGTERM)
            self._asked = True

    def end(self, grace_s: float) -> int:
        """SIGTERM, and SIGKILL when that has not helped after `grace_s`."""
        self.ask_to_end()
        try:
            return self.process.wait(grace_s)
        except subprocess.TimeoutExpired:
            log.error("%s did not end within %.0f s and is killed", self.name, grace_s)
            os.killpg(self.pid, signal.SIGKILL)
            return self.process.wait()


def age_s() -> float:
    """Seconds since this process began; where the system does not say, since it came to this module."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    except OSError:
        return time.time() - _IMPORTED
    return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
