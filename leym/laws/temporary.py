"""Laws that are removed unless somebody keeps them: a file beside their manifest says until when they stay."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

from leym.common.files import atomic_file
from leym.laws.bundle import Bundle

MARK = "temporary.json"


def mark_temporary(folder: Path, until: float) -> None:
    """Make the law in a folder temporary, until a time in seconds since 1970."""
    with atomic_file(folder / MARK, mode=0o644) as file:
        file.write(json.dumps({"until": until}).encode())


def temporary_until(bundle: Bundle) -> float | None:
    """Return until when a law stays, in seconds since 1970; None for a law that stays."""
    try:
        return float(json.loads((bundle.path / MARK).read_bytes())["until"])
    except FileNotFoundError:
        return None


def keep(bundle: Bundle) -> None:
    """Make a law stay. One that stays already is not changed."""
    (bundle.path / MARK).unlink(missing_ok=True)


def overdue(bundles: list[Bundle], now: float | None = None) -> Iterator[Bundle]:
    """Yield the laws whose time is over."""
    now = time.time() if now is None else now
    for bundle in bundles:
        until = temporary_until(bundle)
        if until is not None and until < now:
            yield bundle
