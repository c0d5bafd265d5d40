"""Output of the command: JSON, tables on a terminal, tab-separated lines elsewhere, and exit codes."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from leym.client.errors import JobCancelled, JobFailed, ProblemError, ServiceUnreachable, UnexpectedAnswer
from leym.common.extras import extra_of
from leym.common.printable import printable, printable_json
from leym.common.tables import delimited

OK, FAILED, USAGE, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 130

COLOURS = {
    "succeeded": "green",
    "running": "cyan",
    "queued": "yellow",
    "paused": "yellow",
    "failed": "red",
    "cancelled": "magenta",
    "pass": "green",
    "fail": "red",
    "inconclusive": "yellow",
}


def write_json(value: Any) -> None:
    """Print a JSON document, indented on a terminal and on one line elsewhere."""
    print(printable_json(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False)))


def write_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], heading: bool = False) -> None:
    """Print a table on a terminal, and tab-separated values that can be parsed back exactly elsewhere.

    Args:
        columns: titles of the columns.
        rows: the cells of each row.
        heading: print the titles also when the values are tab-separated.
    """
    console = Console()
    if not console.is_terminal:
        print(delimited([columns, *rows] if heading else rows, "\t"), end="")
        return
    table = Table(*(escape(_text(column)) for column in columns), box=None, header_style="bold", padding=(0, 1, 0, 0))
    table.columns[0].no_wrap = True  # ids and names must stay whole, for copying
    for row in rows:
        table.add_row(*(_coloured(_text(cell)) for cell in row))
    console.print(table)


def note(text: str) -> None:
    """Print a remark on stderr. Line ends are kept; other control characters are shown as escapes."""
    Console(stderr=True).print(
        "\n".join(map(printable, text.split("\n"))), highlight=False, markup=False, soft_wrap=True
    )


def age(at: float | str | None) -> str:
    """Return the age of a time, epoch seconds or ISO 8601, in its largest unit: `45s`, `3m`, `2h`, `9d`."""
    if at is None:
        return "-"
    then = at if isinstance(at, int | float) else datetime.fromisoformat(at).timestamp()
    seconds = max(0, int(time.time() - then))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


@contextmanager
def exits(as_json: bool) -> Iterator[None]:
    """Turn exceptions of the SDK into a message on stderr and an exit code: 1 job failed, 2 usage, 3 no service."""
    try:
        yield
    except (JobFailed, JobCancelled) as error:
        _print_error(str(error), {"title": type(error).__name__, **error.problem}, as_json)
        raise typer.Exit(FAILED) from error
    except ProblemError as error:
        _print_error(_sentences(error), error.as_dict(), as_json)
        no_service = error.status >= 500 or isinstance(error, UnexpectedAnswer)
        raise typer.Exit(UNREACHABLE if no_service else USAGE) from error
    except ServiceUnreachable as error:
        _print_error(str(error), {"title": "Service unreachable", "detail": str(error)}, as_json)
        raise typer.Exit(UNREACHABLE) from error
    except BrokenPipeError:
        raise  # the reader of stdout has ended: Typer ends the command quietly
    except ModuleNotFoundError as error:
        extra = extra_of(error.name or "")
        if extra is None:
            raise  # a bug in this package
        text = f"this command needs {error.name}, which is not installed: pip install 'leym[{extra}]'"
        _print_error(text, {"title": "Not installed", "detail": text}, as_json)
        raise typer.Exit(USAGE) from error
    except (TimeoutError, ValueError, OSError) as error:
        _print_error(str(error), {"title": type(error).__name__, "detail": str(error)}, as_json)
        raise typer.Exit(FAILED if isinstance(error, TimeoutError) else USAGE) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(INTERRUPTED) from error


def _print_error(text: str, document: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print(printable_json(json.dumps(document, ensure_ascii=False)), file=sys.stderr)
    else:
        note(f"leym: {text}")


def _sentences(error: ProblemError) -> str:
    lines = [str(error)]
    for broken in error.errors:
        if broken.get("detail") not in (None, error.detail):
            lines.append(f"  {broken.get('pointer') or '/'}: {broken['detail']}")
    return "\n".join(lines)


def _text(cell: Any) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.6g}"
    return printable(str(cell))


def _coloured(text: str) -> str:
    colour = COLOURS.get(text)
    return f"[{colour}]{text}[/]" if colour else escape(text)
