"""A child is ended with everything below it, also when it does not want to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from leym.common.children import descendants, end_tree
from tests.support.processes import is_alive
from tests.support.service import until

STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
if sys.argv[1] != "0":
    subprocess.Popen([sys.executable, __file__, str(int(sys.argv[1]) - 1)], start_new_session=True)
else:
    print("up", flush=True)
time.sleep(600)
"""


def started(folder: Path, depth: int) -> subprocess.Popen[bytes]:
    script = folder / "stubborn.py"
    script.write_text(STUBBORN)
    process = subprocess.Popen([sys.executable, script, str(depth)], stdout=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"up\n"
    return process


def test_descendants_are_found_below_sessions_of_their_own(tmp_path: Path) -> None:
    process = started(tmp_path, 2)
    below = descendants(process.pid)
    assert len(below) == 2
    assert below[0] in descendants(os.getpid())
    assert descendants(below[1]) == []
    end_tree(process, 0)
    assert process.returncode == -9
    until(lambda: not any(map(is_alive, below)), what="all have ended")


def test_a_process_that_has_ended_is_left_alone() -> None:
    process = subprocess.Popen([sys.executable, "-c", "raise SystemExit(3)"])
    process.wait()
    end_tree(process, 5)
    assert process.returncode == 3
