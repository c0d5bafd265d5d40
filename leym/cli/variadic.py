"""Options that take one value or more: `--scopes read submit`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from typer.core import TyperCommand


class VariadicCommand(TyperCommand):
    """A command whose list options take all values that follow: `--set a b` means `--set a --set b`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments after giving each value of a list option an option of its own."""
        lists = {name for parameter in self.params if getattr(parameter, "multiple", False) for name in parameter.opts}
        return super().parse_args(ctx, repeat_options(args, lists))


def repeat_options(arguments: Sequence[str], names: Collection[str]) -> list[str]:
    """Repeat an option of `names` before every value that follows it, up to the next argument that starts with `-`."""
    found: list[str] = []
    option, values = None, 0
    for argument in arguments:
        if argument.startswith("-"):
            option, values = (argument if argument in names else None), 0
            found.append(argument)
            continue
        if option is not None:
            found += [option] if values else []
            values += 1
        found.append(argument)
    return found
