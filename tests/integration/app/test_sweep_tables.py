"""The table of a sweep over HTTP: every format, filters, order, aggregates and refusals."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from pyarrow import ipc, parquet

from leym.common.table_formats import FORMATS
from tests.support.api import PROBLEM, Api, refused, run_blocks

BASE = {"law": "aurora", "grid": [8, 8], "steps": 30, "observe": {"every": 10, "names": ["coherence"]}}
COLUMNS = ["index", "id", "state", "step", "steps", "stopped_at", "error", "gamma", "seed", "axis.steps", "grid"]


def submitted(api: Api, axes: dict[str, Any], **more: Any) -> str:
    answer = api.http.post("/v1/sweeps", json={"base": BASE, "axes": axes} | more)
    assert answer.status_code == 202, answer.text
    return str(answer.json["id"])


@pytest.fixture
def sweep(api: Api) -> str:
    """A sweep of 8 members, of which those with an even seed have succeeded."""
    axes = {"gamma": [0, 0.5], "seed": {"start": 7, "count": 4}, "steps": [30], "grid": [[8, 8]]}
    id = submitted(api, axes)
    run_blocks(api, id)
    return f"/v1/sweeps/{id}"


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
        assert float(row["coherence"]) == item["observables"]["coherence"]
        assert float(row["coherence"]) == int(row["index"]) / 8 + int(row["step"])
        assert row["error"] == (PROBLEM["detail"] if row["state"] == "failed" else "" if format == "csv" else None)
        assert str(row["stopped_at"]) == ("30" if row["state"] == "succeeded" else "" if format == "csv" else "None")


def test_rows_are_filtered_and_sorted(api: Api, sweep: str) -> None:
    found = rows(api, sweep, filter=["state=succeeded", "gamma>=0.1"], sort="seed", descending="true")
    assert [(row["gamma"], row["seed"], row["state"]) for row in found] == [
        (0.5, 10, "succeeded"), (0.5, 8, "succeeded")
    ]  # fmt: skip
    items = api.http.get(f"{sweep}/table?filter=gamma%3D0&sort=seed&descending=true").json["items"]
    assert [item["point"]["seed"] for item in items] == [10, 9, 8, 7]


def test_pages_of_json_are_those_of_the_whole_table(api: Api, sweep: str) -> None:
    """The order goes over all pages, and a page is full although others do not meet the filter."""
    query = {"filter": "index!=3", "sort": "coherence", "descending": "true"}
    found, sizes, cursor = [], [], {}
    while cursor is not None:
        page = api.http.get(f"{sweep}/table", query_string=query | cursor | {"limit": 3}).json
        found += [item["id"] for item in page["items"]]
        sizes.append(len(page["items"]))
        cursor = {"cursor": page["next"]} if page["next"] else None
    assert found == [row["id"] for row in rows(api, sweep, **query)]
    assert sizes == [3, 3, 1]
    refused(api.http.get(f"{sweep}/table?sort=seed&cursor={'0' * 25}i"), 422, pointer="/cursor")


def test_statistics_over_seeds(api: Api, sweep: str) -> None:
    found = rows(api, sweep, aggregate="mean,count,q50", value="coherence", filter="state=succeeded")
    assert found == [
        {"gamma": 0.0, "axis.steps": 30, "grid": "[8, 8]", "members": 2, "coherence.mean": 2 / 8 + 30}
        | {"coherence.count": 2, "coherence.q50": 2 / 8 + 30},
        {"gamma": 0.5, "axis.steps": 30, "grid": "[8, 8]", "members": 2, "coherence.mean": 6 / 8 + 30}
        | {"coherence.count": 2, "coherence.q50": 6 / 8 + 30},
    ]
    [whole] = rows(api, sweep, aggregate="max", over="gamma,seed,axis.steps,grid", value="coherence")
    assert whole == {"members": 8, "coherence.max": 7 / 8 + 30}


def test_rows_of_blocks_that_share_a_range_are_in_the_order_of_the_members(api: Api) -> None:
    """A block per precision, and precision varies fastest: their members alternate."""
    id = submitted(api, {"seed": {"count": 6}, "precision": ["fp32", "bf16"], "gamma": [0.0, 0.5]}, mode="product")
    run_blocks(api, id)
    assert len(api.table.blocks(id)) > 1
    found = rows(api, f"/v1/sweeps/{id}")
    assert [row["index"] for row in found] == list(range(24))
    assert [(row["seed"], row["precision"], row["gamma"]) for row in found] == [
        tuple(point.values()) for point in map(api.table.sweep_plan(id).point, range(24))
    ]
    assert [row["coherence"] - row["step"] for row in found] == pytest.approx([i / 8 for i in range(24)])


def test_members_that_run_have_what_is_committed_and_drawn_points_their_values(api: Api) -> None:
    id = submitted(api, {"gamma": {"uniform": [0, 1]}, "seed": {"count": 9}}, mode={"sample": "random", "count": 12})
    before = rows(api, f"/v1/sweeps/{id}")
    assert [(row["state"], row["step"], row["coherence"]) for row in before] == [("queued", 0, None)] * 12
    run_blocks(api, id, ends=False)
    found = rows(api, f"/v1/sweeps/{id}")
    assert {row["state"] for row in found} == {"running", "failed"}
    plan = api.table.sweep_plan(id)
    for row in found:
        assert {key: row[key] for key in ("gamma", "seed")} == plan.point(row["index"])
        assert row["coherence"] == row["index"] / 8 + row["step"]
    answer = api.http.get(f"/v1/sweeps/{id}/table?format=csv")
    assert answer.headers["Cache-Control"] == "no-store"
    with_objects = api.http.get(f"/v1/sweeps/{id}/table").json["items"]
    assert [item["observables"] for item in with_objects] == [{"coherence": row["coherence"]} for row in found]


def test_a_large_sweep_is_written_block_by_block(api: Api) -> None:
    id = submitted(api, {"gamma": {"linspace": [0, 1, 100]}, "seed": {"count": 1000}})
    answer = api.http.get(f"/v1/sweeps/{id}/table?format=parquet")
    table = parquet.read_table(io.BytesIO(answer.data))
    assert table.num_rows == 100_000
    assert table["index"].to_pylist() == list(range(100_000))
    [one] = rows(api, f"/v1/sweeps/{id}", filter=["index=99999"])
    assert (one["gamma"], one["seed"]) == (1.0, 999)


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


def test_a_window_of_steps_is_averaged(api: Api, sweep: str) -> None:
    """The pretended coherence is the step and an eighth of the index; members with an odd seed end at step 20."""
    for row in rows(api, sweep, window="10,30"):
        steps = [10, 20, 30] if row["state"] == "succeeded" else [10, 20]
        assert row["coherence"] == row["index"] / 8 + sum(steps) / len(steps)
    items = api.http.get(f"{sweep}/table?window=11,20").json["items"]
    assert [item["observables"]["coherence"] for item in items] == [index / 8 + 20 for index in range(8)]
    means = rows(api, sweep, aggregate="mean", over="seed", window="0,10", filter="state=succeeded")
    assert [row["coherence.mean"] for row in means] == [(1 + 3) / 16 + 5, (5 + 7) / 16 + 5]
    assert {row["coherence"] for row in rows(api, sweep, window="1,9")} == {None}, "nothing is observed there"
    assert {row["coherence"] for row in rows(api, sweep, window="21,29")} == {None}
    refused(api.http.get(f"{sweep}/table?window=20,10"), 422, "must not be after")
    refused(api.http.get(f"{sweep}/table?window=20"), 422)
