"""Tables as CSV or TSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Sequence
from typing import Any


def delimited(rows: Iterable[Sequence[Any]], delimiter: str = ",") -> str:
    """Format rows as CSV (RFC 4180, but with LF line ends), or as TSV with another delimiter.

    Numbers read back exactly, None is an empty cell, and mappings and lists are JSON text. Only cells that need it are
    quoted.
    """
    lines = _Lines()
    # csv quotes the characters of its line terminator. If that had no CR, Python 3.11 would leave a bare CR unquoted,
    # and readers would take it for the end of the line.
    csv.writer(lines, delimiter=delimiter, lineterminator=_Lines.END).writerows(map(_scalar, row) for row in rows)
    return "".join(lines.written)


class _Lines:
    """Output of `csv.writer`, which calls `write` once per row; turns CRLF line ends into LF."""

    END = "\r\n"

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, line: str) -> None:
        self.written.append(line.removesuffix(self.END) + "\n")


def _scalar(value: Any) -> Any:
    """Return a value that fits into a cell: mappings and lists as JSON text."""
    return json.dumps(value) if isinstance(value, dict | list) else value
