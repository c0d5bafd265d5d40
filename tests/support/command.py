"""The command `leym` as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys


def leym(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, without a terminal."""
    command = [sys.executable, "-m", "leym.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=os.environ | environment)
