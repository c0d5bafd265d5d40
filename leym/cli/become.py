"""Commands that are modules of their own, because they need more than HTTP: this process becomes them."""

from __future__ import annotations

import os
import sys

import typer

from leym.cli.output import USAGE, note
from leym.common.extras import missing

PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def become(module: str, arguments: list[str], *extras: str) -> None:
    """Replace this process, so that signals and the exit code are those of the module.

    extras: of the installation, that the module needs; without one of them it is not started, and a note names it.
    -P: a folder `workers` where the user happens to be is not ours.
    """
    if without := missing(*extras):
        note(f"leym: {without}")
        raise typer.Exit(USAGE)
    try:
        os.execvp(sys.executable, [sys.executable, "-P", "-m", module, *arguments])
    except OSError as error:
        note(f"leym: cannot start {module}: {error}")
        raise typer.Exit(USAGE) from error
