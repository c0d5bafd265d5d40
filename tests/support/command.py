"""The command `leym`: as a user runs it, and in the process of the tests."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

from typer.testing import CliRunner

from leym.cli.main import app
from leym.settings import settings


def leym(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, without a terminal."""
    command = [sys.executable, "-m", "leym.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=os.environ | environment)


def leym_here(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command in this process, which has imported already what a process of its own imports for seconds.

    Exceptions that the command does not turn into an exit code are raised.
    """
    settings.cache_clear()  # a process of its own would read them
    log = logging.getLogger("workers")
    level = log.level  # commands that print a report make it quieter
    try:
        done = CliRunner().invoke(app, arguments, env=environment, catch_exceptions=False)
    finally:
        settings.cache_clear()
        log.setLevel(level)
    return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)
