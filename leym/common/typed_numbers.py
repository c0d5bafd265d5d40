"""Bounded numbers as argparse types; a refusal names the bounds."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return an argparse type for a whole number from `least` to `most`."""

    def read(text: str) -> int:
        if not re.fullmatch(r"-?[0-9]{1,30}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number from {least} to {most}")
        return int(text)

    return read


def real(least: float, most: float) -> Callable[[str], float]:
    """Return an argparse type for a decimal number from `least` to `most`."""

    def read(text: str) -> float:
        if not re.fullmatch(r"-?[0-9]{1,30}(\.[0-9]{0,30})?", text) or not least <= float(text) <= most:
            raise argparse.ArgumentTypeError(f"{text!r}: expected a number from {least:g} to {most:g}")
        return float(text)

    return read
