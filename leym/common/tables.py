"""Tables as text that reads back the same, and the rows of a sweep without nesting."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def delimited(rows: Iterable[Sequence[Any]], delimiter: str = ",") -> str:
    """Writes rows as CSV (RFC 4180, but each line ends with LF), or as TSV with another delimiter.

    Numbers are written so that they read back exactly, None as an empty cell, mappings and lists as JSON text. Cells
    are quoted only where they must be.
    """
    lines = _Lines()
    # csv quotes the characters of its line terminator: without CR in it, Python 3.11 leaves a bare CR unquoted, which
    # readers take for the end of the line
    csv.writer(lines, delimiter=delimiter, lineterminator=_Lines.END).writerows(map(_scalar, row) for row in rows)
    return "".join(lines.written)


class _Lines:
    """A file for `csv.writer`, which calls `write` once per row."""

    END = "\r\n"

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, line: str) -> None:
        self.written.append(line.removesuffix(self.END) + "\n")


def flat_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """Flattens a row of a sweep's table: the job's own keys, then its axes, then its observables.

    A name stands for one column. Only the axis `steps` has the name of a key of the job, and it is that key.

    Args:
        row: `id`, `state`, `step`, `steps`, and the mappings `point` and `observables`.

    Returns:
        Numbers and text by column; values with a structure are JSON text.
    """
    own = {key: value for key, value in row.items() if key not in ("point", "observables")}
    return {**own, **{axis: _scalar(value) for axis, value in row["point"].items()}, **row["observables"], **own}


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns of all rows: those of the first, then what later ones add (jobs without observables have fewer)."""
    return list(dict.fromkeys(column for row in rows for column in row))


def _scalar(value: Any) -> Any:
    """Text or a number, as a column can hold it."""
    return json.dumps(value) if isinstance(value, dict | list) else value
