"""The `leym` command."""

from leym.cli.main import main

__all__ = ["main"]
