"""`leym sweep` against scripted answers: what it asks, what it prints, and its exit codes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from leym.common.table_formats import FORMATS, encoded
from tests.support.command import leym_here as leym
from tests.support.scripted_server import Scripted, answers, says, scripted

__all__ = ["scripted"]

ID = "1" * 26
SWEEP: dict[str, Any] = {
    "id": ID,
    "size": 2,
    "counts": {"queued": 1, "failed": 1},
    "spec": {"axes": {"gamma": [0.0, 0.1], "law": ["a", "b"]}, "mode": "product"},
    "links": {},
}
Start = Callable[..., Scripted]
TABLE = {"gamma": np.array([0.0, 0.1]), "law": np.array(["a", "b"], object), "activity.mean": np.array([1.0, np.nan])}


def table(format: str) -> Callable[[Any], None]:
    return says(200, b"".join(encoded([TABLE], format)), FORMATS[format])


def test_run_sends_axes_sample_and_rules(scripted: Start) -> None:
    server = scripted(answers(202, SWEEP))
    done = leym(
        *("sweep", "run", "aurora", "-a", "gamma=uniform(0,0.1)", "-a", "seed=0..9", "--sample", "latin_hypercube:50"),
        *("--stop", "frozen:3", "--stop", "activity<0.01", "--steps", "10", "--grid", "8"),
        LEYM_URL=server.url,
    )
    assert (done.returncode, done.stdout) == (0, f"{ID}\n")
    body = json.loads(server.requests[0][3])
    assert body["axes"] == {"gamma": {"uniform": [0, 0.1]}, "seed": {"start": 0, "count": 10}}
    assert body["mode"] == {"sample": "latin_hypercube", "count": 50, "seed": 0}
    assert body["stop"] == [{"when": "frozen", "for": 3}, {"observable": "activity", "below": 0.01}]
    assert body["base"] == {"law": "aurora", "grid": [8, 8], "steps": 10, "record": []}


def test_a_dry_run_prints_what_the_sweep_needs(scripted: Start) -> None:
    facts = {"size": 20, "cell_steps": 12800, "bytes": 5000}
    server = scripted(answers(200, facts), answers(200, facts))
    arguments = ("sweep", "run", "aurora", "-a", "gamma=linspace(0,0.05,20)", "--dry-run")
    assert leym(*arguments, LEYM_URL=server.url).stdout == "size\t20\ncell_steps\t12800\nbytes\t5000\n"
    assert json.loads(leym(*arguments, "--json", LEYM_URL=server.url).stdout) == facts
    assert server.requests[0][1] == "/v1/sweeps?dry_run=true"


@pytest.mark.parametrize("arguments", [["--zip", "--sample", "random:3"], ["--sample", "random"], ["--stop", "x=1"]])
def test_wrong_options_of_run_exit_2(arguments: list[str], scripted: Start) -> None:
    server = scripted()
    assert leym("sweep", "run", "aurora", "-a", "seed=0..3", *arguments, LEYM_URL=server.url).returncode == 2
    assert server.requests == []


@pytest.mark.parametrize("command", ["status", "show"])
def test_status_counts_the_members(command: str, scripted: Start) -> None:
    server = scripted(answers(200, SWEEP))
    assert leym("sweep", command, ID, LEYM_URL=server.url).stdout == "queued\t1\nfailed\t1\n"


@pytest.mark.parametrize("action", ["pause", "resume", "retry", "cancel"])
def test_a_sweep_is_steered(action: str, scripted: Start) -> None:
    server = scripted(answers(200, SWEEP), answers(200, SWEEP | {"counts": {"paused": 2}}))
    assert leym("sweep", action, ID, LEYM_URL=server.url).stdout == "paused\t2\n"
    assert server.requests[1][:2] == ("POST", f"/v1/sweeps/{ID}/{action}")


def test_a_table_is_printed_or_saved(scripted: Start, tmp_path: Path) -> None:
    asked = [answers(200, SWEEP), table("jsonl")]
    server = scripted(*asked, *asked, answers(200, SWEEP), table("parquet"), answers(200, SWEEP), table("csv"))
    query = ("--aggregate", "mean,sd", "--over", "seed", "--filter", "gamma>=0.01", "--sort", "activity.mean")
    done = leym("sweep", "table", ID, *query, LEYM_URL=server.url)
    assert done.stdout == "gamma\tlaw\tactivity.mean\n0.0\ta\t1.0\n0.1\tb\t\n"
    sent = parse_qs(urlsplit(server.requests[1][1]).query)
    assert sent == {
        "aggregate": ["mean,sd"], "over": ["seed"], "filter": ["gamma>=0.01"], "sort": ["activity.mean"],
        "format": ["jsonl"],
    }  # fmt: skip
    found = json.loads(leym("sweep", "table", ID, "--json", LEYM_URL=server.url).stdout)
    assert found[1] == {"gamma": 0.1, "law": "b", "activity.mean": None}
    out = tmp_path / "t.parquet"
    assert leym("sweep", "table", ID, "--out", str(out), LEYM_URL=server.url).stdout == f"{out}\n"
    assert out.read_bytes().startswith(b"PAR1")
    done = leym("sweep", "table", ID, "--format", "csv", LEYM_URL=server.url)
    assert done.stdout == "gamma,law,activity.mean\n0.0,a,1.0\n0.1,b,\n"


def test_an_empty_table_prints_nothing(scripted: Start) -> None:
    server = scripted(answers(200, SWEEP), says(200, b"", FORMATS["jsonl"]))
    done = leym("sweep", "table", ID, "--filter", "state=failed", LEYM_URL=server.url)
    assert (done.returncode, done.stdout) == (0, "")


def test_a_plot_is_saved(scripted: Start, tmp_path: Path) -> None:
    server = scripted(answers(200, SWEEP), table("jsonl"))
    out = tmp_path / "f.png"
    arguments = ("--x", "gamma", "--y", "law", "--value", "activity", "--out", str(out))
    done = leym("sweep", "plot", ID, *arguments, LEYM_URL=server.url)
    assert (done.returncode, done.stdout) == (0, f"{out}\n"), done.stderr
    assert out.read_bytes().startswith(b"\x89PNG")


def test_add_prints_the_indices_of_the_new_members(scripted: Start) -> None:
    grown = SWEEP | {"size": 12, "members": {"first": 2, "size": 10}}
    server = scripted(
        answers(200, SWEEP), answers(202, grown), answers(200, SWEEP), answers(200, {"size": 10, "cell_steps": 7})
    )
    arguments = ("sweep", "add", ID, "-a", "gamma=linspace(0,1,5)", "-a", "law=a,b")
    assert leym(*arguments, LEYM_URL=server.url).stdout == "2..11\n"
    assert json.loads(server.requests[1][3]) == {
        "axes": {"gamma": {"linspace": [0, 1, 5]}, "law": ["a", "b"]}, "mode": "product"
    }  # fmt: skip
    assert leym(*arguments, "--dry-run", LEYM_URL=server.url).stdout == "size\t10\ncell_steps\t7\n"
    refused = leym("sweep", "add", ID, LEYM_URL=server.url)
    assert (refused.returncode, "an --axis for each axis" in refused.stderr) == (2, True)


def test_sweeps_are_listed_summarised_hurried_and_deleted(scripted: Start) -> None:
    numbers = {"members": 2, "mean": 0.5, "sd": 0.1, "minimum": 0.4, "maximum": 0.6, "edges": [0, 1], "counts": [2]}
    summary = {"counts": {}, "observables": {"activity": numbers}}
    server = scripted(
        answers(200, {"items": [SWEEP], "next": None}),
        answers(200, SWEEP), answers(200, summary),
        answers(200, SWEEP), answers(200, SWEEP),
        answers(200, SWEEP), says(204, b"", ""),
    )  # fmt: skip

    def printed(*arguments: str) -> str:
        done = leym("sweep", *arguments, LEYM_URL=server.url)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert printed("list", "--limit", "3") == f"{ID}\trunning\t1/2\tgamma,law\t-\n"
    assert printed("summary", ID).splitlines()[1] == "activity\t2\t0.5\t0.1\t0.4\t0.6"
    assert "queued\t1" in printed("priority", ID, "7")
    assert printed("delete", ID) == ""
    methods = [(request[0], urlsplit(request[1]).path) for request in server.requests]
    assert methods[-3:] == [("PATCH", f"/v1/sweeps/{ID}"), ("GET", f"/v1/sweeps/{ID}"), ("DELETE", f"/v1/sweeps/{ID}")]
    assert json.loads(server.requests[4][3]) == {"priority": 7}
