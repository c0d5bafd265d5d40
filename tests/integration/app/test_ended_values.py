"""A summary reads the observables of a block that has ended once, and those of a live one each time."""

from __future__ import annotations

import pytest

from app import ended_values
from app.ended_values import EndedValues
from leym.contract.problems import Problem
from tests.support.api import SPEC, run_blocks

SWEEP = {
    "base": {key: SPEC[key] for key in ("law", "grid", "steps")} | {"observe": {"every": 10, "names": ["coherence"]}},
    "axes": {"seed": {"start": 0, "count": 6}},
}


@pytest.fixture
def reads(monkeypatch):
    found, read = [], ended_values.last_observables

    def counted(store, row):
        found.append(row.id)
        return read(store, row)

    monkeypatch.setattr(ended_values, "last_observables", counted)
    return found


def test_an_ended_block_is_read_once_and_a_live_one_each_time(api, reads):
    sweep = api.http.post("/v1/sweeps", json=SWEEP).json["id"]
    run_blocks(api, sweep, ends=False)
    at = f"/v1/sweeps/{sweep}/summary"
    for _ in range(2):
        api.http.get(at)
    blocks = len(api.table.blocks(sweep))
    assert len(reads) == 2 * blocks
    api.http.post(f"/v1/sweeps/{sweep}/cancel")
    first, again = api.http.get(at).json, api.http.get(at + "?bins=2").json
    assert len(reads) == 3 * blocks
    assert first["observables"]["coherence"]["mean"] == again["observables"]["coherence"]["mean"]
    assert first["observables"]["coherence"]["members"] == 6
    assert len(again["observables"]["coherence"]["counts"]) == 2


def test_the_least_recently_used_block_is_forgotten_first(api, reads):
    rows = []
    for _ in range(2):
        sweep = api.http.post("/v1/sweeps", json=SWEEP).json["id"]
        run_blocks(api, sweep)
        rows += api.table.blocks(sweep)
    kept = EndedValues(most_bytes=6 * 8)  # the values of one block of six members
    for row in (rows[0], rows[0], rows[-1], rows[0]):
        kept.read(api.store, row)
    assert reads == [rows[0].id, rows[-1].id, rows[0].id]


@pytest.mark.parametrize("part", ["summary", "table"])
def test_values_that_a_commit_has_replaced_are_read_again(api, monkeypatch, part):
    sweep = api.http.post("/v1/sweeps", json=SWEEP).json["id"]
    run_blocks(api, sweep, ends=False)
    expected, read, failing = api.http.get(f"/v1/sweeps/{sweep}/{part}").json, ended_values.last_observables, [2]

    def replaced(store, row):
        if failing[0]:
            failing[0] -= 1
            raise Problem(503, "Results unreadable", "a commit has replaced the object")
        return read(store, row)

    monkeypatch.setattr(ended_values, "last_observables", replaced)
    assert api.http.get(f"/v1/sweeps/{sweep}/{part}").json == expected
    assert failing == [0]
