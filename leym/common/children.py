"""Child processes that end with their parent, and the end of a child with everything below it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def end_with_parent() -> None:
    """Ask the kernel to send SIGTERM to this process when the thread that started it ends, even by SIGKILL.

    Pass it as `preexec_fn` of a child process. Works on Linux; does nothing elsewhere.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def end_tree(process: subprocess.Popen[bytes], grace_s: float) -> None:
    """End a child process in order, or kill it with all its descendants if it takes too long.

    Args:
        process: a child of this process.
        grace_s: seconds from SIGTERM to SIGKILL.
    """
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        below = descendants(process.pid)  # before the kill, which makes them children of another process
        for pid in (process.pid, *below):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def descendants(root: int) -> list[int]:
    """Return the ids of all processes below `root`, parents first; an empty list on a system without /proc."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # it has ended since
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = list(children.get(root, ()))
    for pid in found:
        found += children.get(pid, ())
    return found
