"""Calls that may succeed or be refused, for tests of what the refusal says."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from leym.contract.problems import Problem

T = TypeVar("T")


def tried(call: Callable[[], T]) -> tuple[T | None, Problem | None]:
    """Call `call` and return (its result, None), or (None, the problem that it raised)."""
    try:
        return call(), None
    except Problem as problem:
        return None, problem
