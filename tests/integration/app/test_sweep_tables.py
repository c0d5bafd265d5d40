"""The table of a sweep over HTTP: every format, filters, order, aggregates and refusals."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from pyarrow import ipc, parquet

from leym.common.table_formats import FORMATS
from tests.support.api import SPEC, Api, Pretender, refused

COLUMNS = ["index", "id", "state", "step", "steps", "stopped_at", "error", "gamma", "seed", "axis.steps", "grid"]


@pytest.fixture
def sweep(api: Api) -> str:
    """A sweep of 8 members, of which those with an even seed have succeeded."""
    axes = {"gamma": [0.0, 0.5], "seed": {"start": 7, "count": 4}, "steps": [30], "grid": [[8, 8]]}
    at = str(api.http.post("/v1/sweeps", json={"base": SPEC | {"steps": 30}, "axes": axes}).headers["Location"])
    for member in api.http.get(f"{at}/jobs").json["items"]:
        if member["point"]["seed"] % 2 == 0:
            worker = Pretender(api, member["id"])
            worker.run(30)
            worker.finish()
    return at


def rows(api: Api, sweep: str, **query: Any) -> list[dict[str, Any]]:
    answer = api.http.get(f"{sweep}/table", query_string=query | {"format": "jsonl"})
    assert answer.status_code == 200, answer.text
    return [json.loads(line) for line in answer.text.splitlines()]


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_has_the_same_rows(api: Api, sweep: str, format: str) -> None:
    answer = api.http.get(f"{sweep}/table?format={format}")
    assert answer.content_type.startswith(FORMATS[format])
    assert "ETag" in answer.headers
    if format == "csv":
        found: Any = list(csv.DictReader(io.StringIO(answer.text)))
    elif format == "jsonl":
        found = [json.loads(line) for line in answer.text.splitlines()]
    else:
        table = parquet.read_table(io.BytesIO(answer.data)) if format == "parquet" else ipc.open_stream(answer.data)
        found = (table if format == "parquet" else table.read_all()).to_pylist()
    items = api.http.get(f"{sweep}/table").json["items"]
    assert list(found[0])[: len(COLUMNS)] == COLUMNS
    assert [str(row["index"]) for row in found] == [str(i) for i in range(8)]
    for row, item in zip(found, items, strict=True):
        assert (row["id"], row["state"], float(row["gamma"])) == (item["id"], item["state"], item["point"]["gamma"])
        assert row["grid"] == "[8, 8]"
        value = row["coherence"] if row["coherence"] not in ("", None) else None
        assert (value and float(value)) == item["observables"].get("coherence")


def test_rows_are_filtered_and_sorted(api: Api, sweep: str) -> None:
    found = rows(api, sweep, filter=["state=succeeded", "gamma>=0.1"], sort="seed", descending="true")
    assert [(row["gamma"], row["seed"], row["state"]) for row in found] == [
        (0.5, 10, "succeeded"), (0.5, 8, "succeeded")
    ]  # fmt: skip
    items = api.http.get(f"{sweep}/table?filter=gamma%3D0&sort=seed&descending=true").json["items"]
    assert [item["point"]["seed"] for item in items] == [10, 9, 8, 7]


def test_statistics_over_seeds(api: Api, sweep: str) -> None:
    found = rows(api, sweep, aggregate="mean,count,q50", value="coherence")
    members = rows(api, sweep, filter="state=succeeded")
    assert [(row["gamma"], row["members"], row["coherence.count"]) for row in found] == [(0.0, 4, 2), (0.5, 4, 2)]
    for row in found:
        values = [member["coherence"] for member in members if member["gamma"] == row["gamma"]]
        assert row["coherence.mean"] == pytest.approx(sum(values) / 2)
        assert row["coherence.q50"] == pytest.approx(sum(values) / 2)
    [whole] = rows(api, sweep, aggregate="max", over="gamma,seed,axis.steps,grid", value="coherence")
    assert whole == {"members": 8, "coherence.max": max(member["coherence"] for member in members)}


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("format=jsonl&filter=gama%3E1", "there is no such column"),
        ("format=csv&sort=nothing", "there is no such column"),
        ("format=arrow&aggregate=mode", "aggregate 'mode' is unknown"),
        ("format=csv&aggregate=mean&over=law", "over 'law' is no axis"),
        ("format=csv&value=coherence", "belong to aggregate"),
        ("aggregate=mean", "needs a format with flat columns"),
        ("format=xlsx", "xlsx"),
    ],
)
def test_a_wrong_query_says_what_is_wrong(api: Api, sweep: str, query: str, says: str) -> None:
    refused(api.http.get(f"{sweep}/table?{query}"), 422, says)


def test_a_format_that_is_not_installed_names_the_extra(api: Api, sweep: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    refused(api.http.get(f"{sweep}/table?format=parquet"), 501, "leym[tables]")
    assert api.http.get(f"{sweep}/table?format=csv").status_code == 200
