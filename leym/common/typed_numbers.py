"""Bounded numbers as parsers of Typer options: a refusal names the value and both bounds."""

from __future__ import annotations

import re
from collections.abc import Callable

import typer


def whole(least: int, most: int) -> Callable[[str | int], int]:
    """Make a parser of whole numbers from `least` to `most`, both included.

    The parser raises typer.BadParameter, which Typer completes with the name of the option. It also accepts defaults,
    which are numbers already.
    """

    def parse(value: str | int) -> int:
        text = str(value)
        if not re.fullmatch(r"-?[0-9]{1,30}", text) or not least <= int(text) <= most:
            raise typer.BadParameter(f"{text!r}: expected a whole number from {least} to {most}")
        return int(text)

    return parse


def real(least: float, most: float) -> Callable[[str | float], float]:
    """Make a parser of decimal numbers from `least` to `most`, both included, without exponents.

    The parser raises typer.BadParameter, as that of `whole` does.
    """

    def parse(value: str | float) -> float:
        text = str(value)
        if not re.fullmatch(r"-?[0-9]{1,30}(\.[0-9]{0,30})?", text) or not least <= float(text) <= most:
            raise typer.BadParameter(f"{text!r}: expected a number from {least:g} to {most:g}")
        return float(text)

    return parse
