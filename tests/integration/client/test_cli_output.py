"""Texts of other users, as the command prints them, neither control the terminal nor break a column."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.api import SPEC, Api, reachable

AXIS = "tags.a\tb"
VALUES = [
    "x\ny",
    'say "hi"',
    "\x1b[2J\x1b[31mred",
    "\x9b31mred",
    "a\u202eb",
    "a\r\x07\x7f",
    "[b]plain[/]",
    "日本 😀",
]
SHOWN = [
    r"x\ny", 'say "hi"', r"\x1b[2J\x1b[31mred", r"\x9b31mred", r"a\u202eb", r"a\r\x07\x7f", "[b]plain[/]", "日本 😀",
]  # fmt: skip
OURS = re.compile(r"\x1b\[[0-9;]*m")  # colours of our own
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028-\u202e]")


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with reachable(tmp_path) as found:
        yield found


def run(api: Api, *arguments: str, terminal: bool = False) -> str:
    """Run the command with stdout as a pipe or a terminal of 300 columns, and return what it prints."""
    command = [sys.executable, "-m", "leym.cli", "--url", api.url, *arguments]
    env = os.environ | {"COLUMNS": "300", "TERM": "xterm"}
    if not terminal:
        return subprocess.run(command, stdout=subprocess.PIPE, env=env, timeout=240, check=True).stdout.decode()
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=theirs, env=env) as process:
        os.close(theirs)
        written = b""
        try:
            while piece := os.read(ours, 65536):
                written += piece
        except OSError:  # how Linux says that the other end is closed
            pass
        assert process.wait(240) == 0
    os.close(ours)
    return OURS.sub("", written.decode().replace("\r\n", "\n"))


def sweep_of(api: Api) -> str:
    answer = api.http.post("/v1/sweeps", json={"base": SPEC, "axes": {AXIS: VALUES}})
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"])


def test_a_table_in_a_pipe_reads_back_exactly_and_no_value_breaks_a_column(api: Api) -> None:
    """A program reads it, so nothing is escaped; `leym.common.tables` quotes what would break a row."""
    sweep = sweep_of(api)
    text = run(api, "sweep", "table", sweep)
    heading, *rows = csv.reader(io.StringIO(text, newline=""), "excel-tab")
    own = ["index", "id", "state", "step", "steps", "stopped_at", "error"]
    assert heading == [*own, AXIS, "coherence", "activity"]
    assert [row[len(own)] for row in rows] == VALUES
    assert {len(row) for row in rows} == {len(heading)}


def test_a_table_on_a_terminal_shows_controls_as_escapes(api: Api) -> None:
    sweep = sweep_of(api)
    lines = run(api, "sweep", "table", sweep, terminal=True).splitlines()
    assert len(lines) == 1 + len(VALUES)
    assert not CONTROL.search("".join(lines))
    for line, shown in zip(lines[1:], SHOWN, strict=True):
        assert line.rstrip(" -").endswith(shown), "the observables are missing"


@pytest.mark.parametrize("terminal", [False, True])
def test_json_is_the_same_value_without_anything_that_acts(api: Api, terminal: bool) -> None:
    sweep = sweep_of(api)
    text = run(api, "sweep", "table", sweep, "--json", terminal=terminal)
    assert not CONTROL.search(text)
    assert [row[AXIS] for row in json.loads(text)] == VALUES


def test_one_job_is_shown_without_anything_that_acts_or_read_back_exactly(api: Api) -> None:
    job = api.submit(tags={"\x1b[2J": "\x9b31m"})
    shown = run(api, "show", job, terminal=True)
    assert not CONTROL.search(shown)
    assert r"\x1b[2J" in shown
    cells = dict(csv.reader(io.StringIO(run(api, "show", job), newline=""), "excel-tab"))
    assert json.loads(cells["spec.tags"]) == {"\x1b[2J": "\x9b31m"}
