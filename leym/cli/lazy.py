"""Commands that are imported when they are called, because they need more than the base installation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, ClassVar

import typer
from typer.core import TyperCommand, TyperGroup

from leym.cli.output import USAGE, note
from leym.common.extras import missing

PANEL = "Commands for this machine"


@dataclass(frozen=True)
class LazyCommand:
    """A command that lives in a module of its own, as the Typer application `app`.

    Attributes:
        module: name of that module; a string, because `workers` is above this package and may not be imported from it.
        help: one line for the list of commands.
        extras: extras of the installation without which the module does not work.
    """

    module: str
    help: str
    extras: tuple[str, ...]

    def extras_for(self, arguments: Sequence[str]) -> tuple[str, ...]:
        """Return the extras that the command needs with these arguments."""
        return self.extras

    def load(self, arguments: Sequence[str]) -> Any:
        """Import the module and return its command; exit with a note that names the extras that are not installed."""
        if without := missing(*self.extras_for(arguments)):
            note(f"leym: {without}")
            raise typer.Exit(USAGE)
        return typer.main.get_command(import_module(self.module).app)


class LazyGroup(TyperGroup):
    """A group whose commands in `lazy` are imported when they are run or asked for their --help, not to be listed.

    Subclasses set `lazy`; the names are those of the commands.
    """

    lazy: ClassVar[Mapping[str, LazyCommand]] = {}

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        for name, command in self.lazy.items():
            self.add_command(TyperCommand(name, help=command.help, rich_help_panel=PANEL))

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """Return the name, the command and its arguments, as Typer does, with a lazy command in place of its entry."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and name in self.lazy:
            command = self.lazy[name].load(rest)
        return name, command, rest
