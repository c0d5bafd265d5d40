"""The SDK's Sweep against scripted answers: requests, life, tables, plots and members."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pandas
import pytest
from rich.console import Console

from leym.client import Client, ProblemError, Sweep, UnexpectedAnswer, linspace
from leym.client.progress import Bars
from leym.common.table_formats import FORMATS, encoded
from leym.common.table_query import Columns
from tests.support.scripted_server import JOB, Scripted, answers, says, scripted

__all__ = ["scripted"]

SWEEP: dict[str, Any] = {
    "id": "1" * 26,
    "size": 6,
    "counts": {"queued": 6},
    "paused_at": None,
    "spec": {
        "base": {"law": "aurora"},
        "axes": {"gamma": [0.0, 0.1], "initial.strength": [1, 2, 3]},
        "mode": "product",
    },
    "progress": {"cell_steps": 600, "done": 0},
    "blocks": 1,
}
Start = Callable[..., Scripted]


def done(**counts: int) -> dict[str, Any]:
    return SWEEP | {"counts": counts or {"succeeded": 6}, "progress": {"cell_steps": 600, "done": 600}}


def table(format: str, columns: Columns) -> Callable[[Any], None]:
    return says(200, b"".join(encoded([columns], format)), FORMATS[format])


def sent(server: Scripted, number: int = -1) -> tuple[str, str, dict[str, list[str]], Any]:
    method, path, _, body = server.requests[number]
    url = urlsplit(path)
    return method, url.path, parse_qs(url.query, keep_blank_values=True), json.loads(body) if body else None


def test_sequences_among_the_arguments_are_axes(scripted: Start) -> None:
    server = scripted(answers(202, SWEEP))
    with Client(server.url) as client:
        sweep = client.sweep(
            "spirals", gamma=linspace(0, 0.05, 20), seed=range(500), grid=(8, 8), steps=100, record={"phase": 10},
            initial={"kind": "complex_noise", "strength": np.array([0.1, 0.2])}, stop=["frozen"], priority=3,
        )  # fmt: skip
    assert sweep.id == SWEEP["id"]
    method, path, query, body = sent(server)
    assert (method, path, query) == ("POST", "/v1/sweeps", {})
    assert body == {
        "base": {
            "law": "spirals", "grid": [8, 8], "steps": 100, "record": [{"field": "phase", "every": 10}], "priority": 3,
            "initial": {"kind": "complex_noise"},
        },
        "axes": {
            "gamma": {"linspace": [0, 0.05, 20]},
            "seed": {"start": 0, "count": 500},
            "initial.strength": [0.1, 0.2],
        },
        "mode": "product",
        "stop": [{"when": "frozen"}],
    }  # fmt: skip


def test_axes_and_mode_work_as_in_version_0_1(scripted: Start) -> None:
    server = scripted(answers(202, SWEEP), answers(202, SWEEP))
    with Client(server.url) as client:
        client.sweep("aurora", {"gamma": [0.0, 0.1], "seed": [1, 2]}, "zip", steps=10)
        client.sweep(None, {"law": ["aurora", "spirals"]})
    assert sent(server, 0)[3]["axes"] == {"gamma": [0.0, 0.1], "seed": [1, 2]}
    assert sent(server, 0)[3]["mode"] == "zip"
    assert sent(server, 1)[3]["base"]["law"] == "aurora"


def test_laws_may_be_an_axis(scripted: Start) -> None:
    server = scripted(answers(202, SWEEP))
    with Client(server.url) as client:
        client.sweep(["aurora", "spirals"], seed=range(2))
    body = sent(server)[3]
    assert (body["base"]["law"], list(body["axes"])) == ("aurora", ["law", "seed"])


def test_a_dry_run_submits_nothing(scripted: Start) -> None:
    server = scripted(answers(200, {"size": 6, "cell_steps": 600, "bytes": 10}))
    with Client(server.url) as client:
        found = client.estimate_sweep("aurora", seed=range(6))
    assert found == {"size": 6, "cell_steps": 600, "bytes": 10}
    assert sent(server)[2] == {"dry_run": ["true"]}


@pytest.mark.parametrize("action", ["pause", "resume", "retry", "cancel"])
def test_the_life_of_a_sweep(action: str, scripted: Start) -> None:
    server = scripted(answers(200, SWEEP | {"paused_at": "2026-01-01T00:00:00Z" if action == "pause" else None}))
    with Client(server.url) as client:
        sweep = getattr(Sweep(client._http, SWEEP), action)()
    assert sweep.state == ("paused" if action == "pause" else "running")
    assert sent(server)[:2] == ("POST", f"/v1/sweeps/{SWEEP['id']}/{action}")


def test_priority_summary_and_members(scripted: Start) -> None:
    server = scripted(answers(200, SWEEP), answers(200, {"counts": {}, "observables": {}}), answers(200, JOB))
    with Client(server.url) as client:
        sweep = Sweep(client._http, SWEEP)
        sweep.set_priority(9)
        assert sent(server) == ("PATCH", f"/v1/sweeps/{SWEEP['id']}", {}, {"priority": 9})
        assert sweep.summary() == {"counts": {}, "observables": {}}
        assert sweep.member(-1).id == JOB["id"]
        assert sent(server)[1] == f"/v1/sweeps/{SWEEP['id']}/members/5"
        with pytest.raises(IndexError, match="has 6 members: no member 6"):
            sweep.member(6)


def test_waiting_shows_members_and_cell_steps(scripted: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    half = SWEEP | {"counts": {"running": 3, "succeeded": 3}}
    half["progress"] = {"cell_steps": 600, "done": 310}
    server = scripted(answers(200, half), answers(200, done(succeeded=5, failed=1)))
    screen = io.StringIO()
    shown = Bars.__init__
    monkeypatch.setattr(
        Bars,
        "__init__",
        lambda self, enabled: shown(self, enabled, Console(file=screen, force_terminal=True, width=200)),
    )
    with Client(server.url) as client:
        sweep = Sweep(client._http, SWEEP).wait(30, progress=True)
    assert sweep.state == "failed"
    assert sweep.progress["cell_steps_done"] == 600
    assert "6/6" in screen.getvalue()
    assert "600/600" in screen.getvalue()


def test_a_sweep_of_an_older_service_has_progress_by_members_only(scripted: Start) -> None:
    old = {"id": "1" * 26, "size": 2, "counts": {"succeeded": 2}}
    with Client(scripted().url) as client:
        sweep = Sweep(client._http, old)
        assert sweep.progress == {"members": 2, "members_done": 2}
        assert sweep.wait(1, progress=True).state == "succeeded"
        with pytest.raises(ValueError, match="this service is older and has no labelled arrays"):
            sweep.dataset()


def columns() -> Columns:
    state = np.array(["succeeded", "failed"], object)
    return {"index": np.arange(2), "state": state, "gamma": np.array([0.0, 0.1]), "activity": np.array([0.5, np.nan])}


def test_a_table_is_a_data_frame_where_pandas_is_installed(scripted: Start) -> None:
    server = scripted(table("arrow", columns()))
    with Client(server.url) as client:
        found = Sweep(client._http, SWEEP).table(
            filter=["gamma>=0.01", "state=succeeded"], sort="activity", descending=True, value="activity"
        )
    assert isinstance(found, pandas.DataFrame)
    assert list(found.columns) == ["index", "state", "gamma", "activity"]
    assert found["index"].dtype == np.int64
    assert found["activity"].isna().tolist() == [False, True]
    assert sent(server)[2] == {
        "filter": ["gamma>=0.01", "state=succeeded"], "sort": ["activity"], "descending": ["true"],
        "value": ["activity"], "format": ["arrow"],
    }  # fmt: skip


def test_a_table_without_pyarrow_or_pandas(scripted: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    server = scripted(*[table("jsonl", columns())] * 3)
    rows = [
        {"index": 0, "state": "succeeded", "gamma": 0.0, "activity": 0.5},
        {"index": 1, "state": "failed", "gamma": 0.1, "activity": None},
    ]
    with Client(server.url) as client:
        sweep = Sweep(client._http, SWEEP)
        assert sweep.table("rows") == rows
        monkeypatch.setattr("leym.client.tables.installed", lambda module: module == "pandas")
        assert sweep.table()["gamma"].tolist() == [0.0, 0.1]
        monkeypatch.setattr("leym.client.tables.installed", lambda module: False)
        assert sweep.table() == rows
        with pytest.raises(ValueError, match="frame 'excel' is unknown"):
            sweep.table("excel")  # type: ignore[arg-type]


@pytest.mark.parametrize("format", FORMATS)
def test_a_table_is_saved_as_it_comes(format: str, scripted: Start, tmp_path: Path) -> None:
    data = b"".join(encoded([columns()], format))
    server = scripted(says(200, data, FORMATS[format]))
    with Client(server.url) as client:
        size = Sweep(client._http, SWEEP).save_table(tmp_path / f"t.{format}", aggregate=["mean", "q05"], over="seed")
    assert (tmp_path / f"t.{format}").read_bytes() == data
    assert size == len(data)
    assert sent(server)[2] == {"format": [format], "aggregate": ["mean,q05"], "over": ["seed"]}


def test_a_wrong_format_writes_no_file(scripted: Start, tmp_path: Path) -> None:
    problem = {"title": "Invalid request", "status": 422, "detail": "sort 'x': there is no such column"}
    server = scripted(answers(422, problem), says(200, b"<html>", "text/html"))
    with Client(server.url) as client:
        sweep = Sweep(client._http, SWEEP)
        with pytest.raises(ValueError, match="a table is saved as jsonl, csv, parquet, arrow"):
            sweep.save_table(tmp_path / "t.xlsx")
        with pytest.raises(ProblemError, match="no such column"):
            sweep.save_table(tmp_path / "t.csv", sort="x")
        with pytest.raises(UnexpectedAnswer, match="no table as csv"):
            sweep.save_table(tmp_path / "t.csv")
    assert list(tmp_path.iterdir()) == []


def grid_of_means() -> Columns:
    gamma, strength = np.repeat([0.0, 0.1], 3), np.tile([3.0, 1.0, 2.0], 2)
    mean = np.array([3.0, 1, 2, 30, np.nan, 20])
    return {"gamma": gamma, "initial.strength": strength, "members": np.full(6, 5), "activity.mean": mean}


def test_a_phase_diagram_has_the_mean_at_its_place(scripted: Start) -> None:
    spec = SWEEP["spec"] | {"axes": SWEEP["spec"]["axes"] | {"steps": [5, 6], "seed": [1, 2]}}
    server = scripted(table("jsonl", grid_of_means()))
    with Client(server.url) as client:
        axes = Sweep(client._http, SWEEP | {"spec": spec}).phase_diagram("gamma", "initial.strength", value="activity")
    query = sent(server)[2]
    assert query == {"aggregate": ["mean"], "over": ["axis.steps,seed"], "value": ["activity"], "format": ["jsonl"]}
    [mesh] = axes.collections
    drawn = np.ma.filled(mesh.get_array(), np.nan).reshape(3, 2)
    np.testing.assert_array_equal(drawn, [[1, np.nan], [2, 20], [3, 30]])
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("gamma", "initial.strength")
    assert axes.figure.axes[1].get_ylabel() == "activity.mean"


def test_a_phase_diagram_of_text_and_of_drawn_points(scripted: Start) -> None:
    laws = {"law": np.array(["b", "a"], object), "gamma": np.array([0.0, 0.1]), "activity.sd": np.array([1.0, 2.0])}
    server = scripted(table("jsonl", laws), table("jsonl", laws), table("jsonl", {}))
    spec = {"axes": {"law": ["b", "a"], "gamma": {"uniform": [0, 1]}}, "mode": {"sample": "random", "count": 2}}
    with Client(server.url) as client:
        dots = Sweep(client._http, SWEEP | {"spec": spec}).phase_diagram("gamma", "law", "activity", statistic="sd")
        grid = Sweep(client._http, SWEEP | {"spec": spec | {"mode": "product"}})
        mesh = grid.phase_diagram("law", "gamma", "activity", statistic="sd")
        with pytest.raises(ValueError, match="'seed' is no axis of sweep"):
            grid.phase_diagram("seed", "gamma", "activity")
        with pytest.raises(ValueError, match="no member has a result"):
            grid.phase_diagram("law", "gamma", "activity")
    np.testing.assert_array_equal(dots.collections[0].get_offsets(), [[0.0, 0.0], [0.1, 1.0]])
    assert [label.get_text() for label in mesh.get_xticklabels()] == ["b", "a"]
    assert sent(server, 0)[2]["over"] == [""]


def test_members_are_added(scripted: Start) -> None:
    added = {"first": 6, "size": 10, "axes": {}, "mode": "product"}
    grown = SWEEP | {"size": 16, "counts": {"queued": 16}, "added": [added], "members": {"first": 6, "size": 10}}
    server = scripted(answers(200, SWEEP), answers(202, grown), answers(200, {"size": 10, "cell_steps": 7}))
    with Client(server.url) as client:
        sweep = client.get_sweep("1" * 26)
        axes = {"initial.strength": [0.5]}
        assert sweep.add(axes, gamma=linspace(0, 1, 10), idempotency_key="k") == range(6, 16)
        assert (sweep.size, "members" in sweep.as_dict()) == (16, False)
        assert sweep.estimate_add(axes, gamma=[0.3])["cell_steps"] == 7
        with pytest.raises(ValueError, match=r"steps = 100 is one value, .*; steps=\[…\] is an axis"):
            sweep.add(axes, gamma=[1], steps=100)
        with pytest.raises(ValueError, match="needs an axis"):
            sweep.add()
    body = {"axes": {"initial.strength": [0.5], "gamma": {"linspace": [0, 1, 10]}}, "mode": "product"}
    assert sent(server, 1) == ("POST", f"/v1/sweeps/{'1' * 26}/members", {}, body)
    assert server.requests[1][2]["idempotency-key"] == "k"
    assert sent(server, 2)[2] == {"dry_run": ["true"]}


def test_sweeps_are_listed_and_deleted(scripted: Start) -> None:
    other = SWEEP | {"id": "2" * 26}
    server = scripted(
        answers(200, {"items": [SWEEP], "next": "n"}),
        answers(200, {"items": [other], "next": None}),
        says(204, b"", ""),
    )
    with Client(server.url) as client:
        found = list(client.sweeps())
        assert [sweep.id for sweep in found] == ["1" * 26, "2" * 26]
        found[1].delete()
    assert [sent(server, i)[:3] for i in range(3)] == [
        ("GET", "/v1/sweeps", {"limit": ["50"]}),
        ("GET", "/v1/sweeps", {"limit": ["49"], "cursor": ["n"]}),
        ("DELETE", f"/v1/sweeps/{'2' * 26}", {}),
    ]
