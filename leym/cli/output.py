"""What the command writes: JSON, tables on a terminal, tab-separated lines elsewhere; and its exit codes."""

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

from leym.client import JobCancelled, JobFailed, ProblemError, ServiceUnreachable, UnexpectedAnswer
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
    """One JSON document on stdout, indented on a terminal, one line elsewhere."""
    print(printable_json(json.dumps(value, indent=2 if sys.stdout.isatty() else None, ensure_ascii=False)))


def write_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], heading: bool = False) -> None:
    """A table on a terminal; elsewhere tab-separated values that read back exactly, with a heading only if asked."""
    console = Console()
    if not console.is_terminal:
        print(delimited([columns, *rows] if heading else rows, "\t"), end="")
        return
    table = Table(*(escape(_text(column)) for column in columns), box=None, header_style="bold", padding=(0, 1, 0, 0))
    table.columns[0].no_wrap = True  # ids and names are there to be copied
    for row in rows:
        table.add_row(*(_coloured(_text(cell)) for cell in row))
    console.print(table)


def note(text: str) -> None:
    """A remark for the person, on stderr; its lines are kept, other control characters are shown as escapes."""
    Console(stderr=True).print(
        "\n".join(map(printable, text.split("\n"))), highlight=False, markup=False, soft_wrap=True
    )


def age(at: float | str | None) -> str:
    """How long ago a time of the API (epoch seconds or ISO 8601) was, in its largest unit: `45s`, `3m`, `2h`, `9d`."""
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
    """Turns what the SDK raises into a message on stderr and an exit code: 1 job failed, 2 usage, 3 no service."""
    try:
        yield
    except (JobFailed, JobCancelled) as error:
        _complain(str(error), {"title": type(error).__name__, **error.problem}, as_json)
        raise typer.Exit(FAILED) from error
    except ProblemError as error:
        _complain(_sentences(error), error.as_dict(), as_json)
        other = error.status >= 500 or isinstance(error, UnexpectedAnswer)
        raise typer.Exit(UNREACHABLE if other else USAGE) from error
    except ServiceUnreachable as error:
        _complain(str(error), {"title": "Service unreachable", "detail": str(error)}, as_json)
        raise typer.Exit(UNREACHABLE) from error
    except BrokenPipeError:
        raise  # the reader of our stdout went away: the framework ends quietly
    except ModuleNotFoundError as error:
        extra = extra_of(error.name or "")
        if extra is None:
            raise  # a defect of ours
        text = f"this needs what is not installed here ({error.name}): pip install 'leym[{extra}]'"
        _complain(text, {"title": "Not installed", "detail": text}, as_json)
        raise typer.Exit(USAGE) from error
    except (TimeoutError, ValueError, OSError) as error:
        _complain(str(error), {"title": type(error).__name__, "detail": str(error)}, as_json)
        raise typer.Exit(FAILED if isinstance(error, TimeoutError) else USAGE) from error
    except KeyboardInterrupt as error:
        raise typer.Exit(INTERRUPTED) from error


def _complain(text: str, document: Mapping[str, Any], as_json: bool) -> None:
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
