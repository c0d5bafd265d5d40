"""Programs of others that open the files which the service writes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def run(program: str, *arguments: str | Path) -> str:
    """The output of a program; the test is skipped where it is not installed (deploy/debian-packages.sh)."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed: deploy/debian-packages.sh installs it")
    done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout
