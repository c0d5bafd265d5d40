"""Runs the `leym` command as `python -m leym.cli`."""

from leym.cli.main import main

main()
