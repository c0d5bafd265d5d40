"""A service for one run, in a temporary folder and on a free port."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from leym.client import Client
from leym.common.children import end_tree, end_with_parent

READY_S = 180.0  # loading torch and compiling the first law on two cores
STOP_S = 30.0
KEPT = ("LEYM_COMPILE", "LEYM_SLOTS")  # settings of the caller to keep; never those that name data of another service


class ServiceStartError(Exception):
    """The service ended or was not ready in time; the message includes the last lines of its log."""


@contextmanager
def running_service(
    laws: Sequence[Path] = (), warm: str = "", arguments: Sequence[str] = (), *, data: Path | None = None
) -> Iterator[Client]:
    """Start a new service, and stop it and remove its data at the end.

    Args:
        laws: folders of bundles to add.
        warm: LEYM_WARM, so that the service is ready only when these laws can run at once.
        arguments: more arguments of `leym up`.
        data: folder for the data of the service, which is kept; default: a temporary one.

    Yields:
        A client of the service.

    Raises:
        ServiceStartError: the service ended or was not ready in time.
    """
    with (
        _sigterm_is_an_exit(),
        tempfile.TemporaryDirectory(prefix="leym-demo-", ignore_cleanup_errors=True) as folder,
    ):
        log, data = Path(folder) / "up.log", data or Path(folder) / "data"
        for law in laws:
            shutil.copytree(law, data / "laws" / law.name)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("LEYM_") or key in KEPT}
        environment["LEYM_WARM"] = warm
        command = [sys.executable, "-m", "leym.cli", "up", "--verbose", "--port", "0"]
        command += ["--data", str(data), *arguments]
        with log.open("wb") as output:
            # a session of its own, so that Ctrl-C reaches this process only, which then stops the service in order
            process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                start_new_session=True,
                preexec_fn=end_with_parent,
            )
        try:
            with Client(_wait_ready(process, log)) as client:
                yield client
        finally:
            end_tree(process, STOP_S)


@contextmanager
def _sigterm_is_an_exit() -> Iterator[None]:
    """Turn SIGTERM, as `timeout` and CI jobs send it, into an exit that stops the service and removes its folder."""
    if threading.current_thread() is not threading.main_thread():  # only the main thread can handle signals
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _wait_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise ServiceStartError(f"the service ended with code {process.returncode}:\n{_tail(log)}")
        if found := re.search(r"^ready (http://\S+)$", log.read_text(errors="replace"), re.MULTILINE):
            return found[1]
        time.sleep(0.2)
    raise ServiceStartError(f"the service was not ready after {READY_S:.0f} s:\n{_tail(log)}")


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-20:])
