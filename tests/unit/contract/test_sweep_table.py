"""Columns of a sweep's table, and queries on it."""

from __future__ import annotations

import numpy as np
import pytest

from leym.common.table_query import Condition, Query, joined
from leym.contract.catalog import OBSERVABLES, RENAMED_OBSERVABLES
from leym.contract.spec import JobSpec
from leym.contract.sweep_table import MEMBER_COLUMNS, axis_name, member_table, table_query


def test_names_of_columns_are_unique() -> None:
    names = [*MEMBER_COLUMNS, *map(axis_name, JobSpec.model_fields), *OBSERVABLES, *RENAMED_OBSERVABLES]
    assert len(names) == len(set(names))
    assert axis_name("steps") == "axis.steps"
    assert axis_name("initial.strength") == "initial.strength"


def test_the_columns_are_in_the_order_of_the_documentation() -> None:
    one = np.zeros(1)
    table = member_table({"steps": one, "index": one, "state": one}, {"gamma": one, "steps": one}, {"activity": one})
    assert list(table) == ["index", "state", "steps", "gamma", "axis.steps", "activity"]


def test_a_query_of_the_api() -> None:
    found = table_query(
        ["gamma", "steps", "seed"], ["activity", "coherence"], filters=["state=succeeded"], sort="activity.mean",
        descending=True, aggregate=["mean", "q05"], over=["steps"],
    )  # fmt: skip
    conditions = (Condition("state", "=", "succeeded"),)
    assert found == Query(
        conditions, "activity.mean", True, ("mean", "q05"), ("gamma", "seed"), ("activity", "coherence")
    )
    assert table_query(["gamma", "seed"], ["activity"], aggregate=["mean"]).by == ("gamma",), "over seeds by default"
    assert table_query(["gamma", "seed"], ["activity"], aggregate=["mean"], over=[]).by == ("gamma", "seed")
    assert table_query(["gamma"], ["activity"], aggregate=["mean"]).by == ("gamma",)
    assert table_query(["gamma"], ["activity"]) == Query(by=("gamma",), values=("activity",))


def test_a_wrong_query_says_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="over 'law' is no axis of the sweep; its axes are gamma"):
        table_query(["gamma"], [], aggregate=["mean"], over=["law"])
    with pytest.raises(ValueError, match="belong to aggregate"):
        table_query(["gamma"], ["activity"], values=["activity"])


def test_the_mean_over_seeds_of_a_sweep_by_hand() -> None:
    gamma, seed = np.repeat([0.0, 0.1], 3), np.tile(np.arange(3), 2)
    table = member_table({}, {"gamma": gamma, "seed": seed}, {"activity": np.array([1.0, 2, 3, 5, np.nan, 7])})
    query = table_query(["gamma", "seed"], ["activity"], aggregate=["mean", "sd", "count"])
    found = joined(list(query.run([table])))
    assert {name: values.tolist() for name, values in found.items()} == {
        "gamma": [0.0, 0.1],
        "members": [3, 3],
        "activity.mean": [2.0, 6.0],
        "activity.sd": [1.0, pytest.approx(2**0.5)],
        "activity.count": [3, 2],
    }
