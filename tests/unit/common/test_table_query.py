"""Filters, sorting and aggregates of tables, against pandas."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leym.common.table_query import Columns, Condition, Query, aggregated, joined, ordered

STATES = ["succeeded", "failed", "running"]
OPERATORS = ["<", "<=", ">", ">=", "=", "!="]
QUANTILES = {"q05": 0.05, "q50": 0.5, "q975": 0.975}


def text(values: list[str | None]) -> np.ndarray:
    column = np.empty(len(values), object)
    column[:] = values
    return column


@st.composite
def tables(draw: st.DrawFn) -> Columns:
    n = draw(st.integers(1, 40))
    floats = st.sampled_from([np.nan, -1.5, 0.0, 0.01, 0.1, 2.0]) | st.floats(-1e6, 1e6)
    return {
        "index": np.arange(n),
        "state": text(draw(st.lists(st.sampled_from([*STATES, None]), min_size=n, max_size=n))),
        "gamma": np.array(draw(st.lists(st.sampled_from([0.0, 0.01, 0.1]), min_size=n, max_size=n))),
        "law": text(draw(st.lists(st.sampled_from(["aurora", "spirals"]), min_size=n, max_size=n))),
        "seed": np.array(draw(st.lists(st.integers(0, 3) | st.just(2**63 - 1), min_size=n, max_size=n)), np.int64),
        "activity": np.array(draw(st.lists(floats, min_size=n, max_size=n))),
    }


def chunks_of(table: Columns, size: int) -> list[Columns]:
    n = len(table["index"])
    return [{name: values[i : i + size] for name, values in table.items()} for i in range(0, n, size)]


@given(
    table=tables(), size=st.integers(1, 50), operator=st.sampled_from(OPERATORS), bound=st.sampled_from([0.01, 2, 0])
)
def test_filters_keep_the_rows_that_pandas_keeps(table: Columns, size: int, operator: str, bound: float) -> None:
    conditions = (Condition.parse(f"activity{operator}{bound}"), Condition.parse("state = succeeded"))
    found = joined(list(Query(conditions).run(chunks_of(table, size))))
    frame = pd.DataFrame(table)
    sign = {"=": "=="}.get(operator, operator)
    kept = frame[frame["activity"].notna() & frame.eval(f"activity {sign} {bound}") & (frame["state"] == "succeeded")]
    assert found["index"].tolist() == kept["index"].tolist()


def test_a_missing_value_meets_no_condition_but_that_it_is_missing() -> None:
    table = {"state": text(["a", None, "b"]), "x": np.array([1.0, np.nan, np.inf])}

    def rows(*filters: str) -> list[int]:
        return np.flatnonzero(np.logical_and.reduce([Condition.parse(f).rows(table) for f in filters])).tolist()

    assert rows("state!=a") == [2]
    assert rows("state=") == [1]
    assert rows("state!=") == [0, 2]
    assert rows("x!=1") == [2]
    assert rows("x=") == [1]
    assert rows("x!=", "x==1") == [0]


def test_seeds_are_compared_as_whole_numbers() -> None:
    table = {"seed": np.array([2**63 - 1, 2**63 - 2], np.int64), "id": np.array([b"aa", b"ab"])}
    assert Condition.parse(f"seed={2**63 - 1}").rows(table).tolist() == [True, False]
    assert Condition.parse("id!=aa").rows(table).tolist() == [False, True]
    assert Condition.parse(f"seed<{2**70}").rows(table).all()


@pytest.mark.parametrize(
    ("text_of", "says"),
    [
        ("gamma", "write NAME=VALUE"),
        ("=3", "write NAME=VALUE"),
        ("gama>1", "filter 'gama': there is no such column; there are gamma, law"),
        ("gamma>x", "'x' is not a number"),
        ("law>a", "text has = and != only"),
    ],
)
def test_a_wrong_filter_says_what_is_wrong(text_of: str, says: str) -> None:
    table = {"gamma": np.array([1.0]), "law": text(["aurora"])}
    with pytest.raises(ValueError, match=says):
        Condition.parse(text_of).rows(table)


@given(
    table=tables(),
    size=st.integers(1, 50),
    descending=st.booleans(),
    column=st.sampled_from(["activity", "state", "seed"]),
)
def test_sorting_is_stable_and_puts_missing_values_last(
    table: Columns, size: int, descending: bool, column: str
) -> None:
    found = joined(list(Query(sort=column, descending=descending).run(chunks_of(table, size))))
    frame = pd.DataFrame(table)
    order = frame.sort_values(column, ascending=not descending, kind="stable", na_position="last")
    assert found["index"].tolist() == order["index"].tolist()


@given(table=tables(), size=st.integers(1, 50))
def test_aggregates_are_those_of_pandas(table: Columns, size: int) -> None:
    statistics = ("mean", "sd", "min", "max", "median", "count", *QUANTILES)
    query = Query(aggregate=statistics, by=("gamma", "law"), values=("activity",))
    found = joined(list(query.run(chunks_of(table, size))))
    groups = pd.DataFrame(table).groupby(["gamma", "law"], sort=False)
    theirs = groups["activity"]
    assert list(zip(found["gamma"], found["law"], strict=True)) == list(theirs.mean().index)
    assert found["members"].tolist() == groups.size().tolist()
    same = {"mean": theirs.mean(), "sd": theirs.std(), "min": theirs.min(), "max": theirs.max()}
    same |= {"median": theirs.median(), "count": theirs.count()}
    same |= {name: theirs.quantile(share) for name, share in QUANTILES.items()}
    for name, values in same.items():
        np.testing.assert_allclose(found[f"activity.{name}"], values.to_numpy(), rtol=1e-9, atol=1e-6, err_msg=name)


def test_aggregates_of_infinite_values_and_of_one_group() -> None:
    table = {"seed": np.arange(3), "x": np.array([1.0, np.inf, np.inf]), "none": np.full(3, np.nan)}
    found = aggregated(table, (), ("x", "none"), ("min", "max", "median", "mean", "sd"))
    assert found["members"].tolist() == [3]
    assert [found[f"x.{name}"][0] for name in ("min", "max", "median", "mean")] == [1.0, np.inf, np.inf, np.inf]
    assert all(np.isnan(found[f"none.{name}"][0]) for name in ("min", "max", "median", "mean", "sd"))


def test_groups_of_many_columns_do_not_overflow() -> None:
    rng = np.random.default_rng(0)
    table: Columns = {f"axis{i}": rng.integers(0, 2**62, 5000) for i in range(8)} | {"x": rng.random(5000)}
    found = aggregated(table, [f"axis{i}" for i in range(8)], ("x",), ("mean",))
    np.testing.assert_array_equal(found["x.mean"], table["x"])


def test_a_wrong_aggregate_says_what_is_wrong() -> None:
    table: Columns = {"x": np.array([1.0]), "law": text(["aurora"])}
    for by, values, statistics, says in (
        (["y"], ["x"], ["mean"], "over 'y': there is no such column"),
        ([], ["y"], ["mean"], "value 'y': there is no such column"),
        ([], ["law"], ["mean"], "only numbers"),
        ([], ["x"], ["q5"], "aggregate 'q5' is unknown"),
    ):
        with pytest.raises(ValueError, match=says):
            aggregated(table, by, values, statistics)
    with pytest.raises(ValueError, match="sort 'y'"):
        ordered(table, "y")


def test_no_rows_are_an_empty_table() -> None:
    table: Columns = {"index": np.zeros(0, np.int64), "x": np.zeros(0), "law": text([])}
    assert joined(list(Query(sort="x").run([table])))["index"].tolist() == []
    found = joined(list(Query(aggregate=("mean", "q05"), by=("law",), values=("x",)).run([table])))
    assert {name: values.tolist() for name, values in found.items()} == {
        "law": [], "members": [], "x.mean": [], "x.q05": []
    }  # fmt: skip
    assert list(Query(sort="x").run([])) == []


def test_a_million_rows_are_aggregated_from_a_stream() -> None:
    def chunks() -> object:
        for start in range(0, 1_000_000, 65_536):
            index = np.arange(start, min(start + 65_536, 1_000_000))
            yield {"gamma": index // 1000 / 1000, "seed": index % 1000, "activity": (index % 1000).astype(float)}

    query = Query((Condition.parse("seed<500"),), "activity.mean", True, ("mean", "q25"), ("gamma",), ("activity",))
    [found] = query.run(chunks())  # type: ignore[arg-type]
    assert found["members"].tolist() == [500] * 1000
    assert set(found["activity.mean"]) == {249.5}
    assert set(found["activity.q25"]) == {124.75}
