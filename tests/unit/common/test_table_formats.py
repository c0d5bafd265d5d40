"""Tables are read back by pandas and pyarrow from every format."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from leym.common.table_formats import FORMATS, column, encoded, page, rows_of, text_column
from leym.common.table_query import Columns
from leym.contract.sweep_table import member_table


def table_of(n: int, first: int = 0) -> Columns:
    index = np.arange(first, first + n)
    return member_table(
        {
            "index": index,
            "id": np.array([f"{i:026d}".encode() for i in index], "S26"),
            "state": text_column(["succeeded" if i % 2 else "failed" for i in index]),
            "step": index % 5,
            "steps": np.full(n, 5),
            "stopped_at": np.where(index % 3 == 0, index * 1.0, np.nan),
            "error": text_column([None if i % 2 else 'diverged, "NaN"\r\nat é' for i in index]),
        },
        {"gamma": index / 7, "seed": 2**63 - 1 - index, "steps": np.full(n, 5)} | {"grid": text_column([[8, 8]] * n)},
        {"activity": np.where(index % 4 == 0, np.nan, index / 3)},
    )


COLUMNS = ["index", "id", "state", "step", "steps", "stopped_at", "error"]
COLUMNS += ["gamma", "seed", "axis.steps", "grid", "activity"]


def read(data: bytes, format: str) -> pa.Table:
    if format == "parquet":
        return parquet.read_table(io.BytesIO(data))
    return ipc.open_stream(data).read_all()


@pytest.mark.parametrize("format", ["parquet", "arrow"])
@pytest.mark.parametrize("sizes", [[7], [3, 0, 4], [0]])
def test_arrow_and_parquet_have_types_and_nulls(format: str, sizes: list[int]) -> None:
    firsts = np.cumsum([0, *sizes]).tolist()
    chunks = [table_of(n, first) for n, first in zip(sizes, firsts, strict=False)]
    found = read(b"".join(encoded(chunks, format)), format)
    n = sum(sizes)
    assert found.column_names == COLUMNS
    whole = {field.name for field in found.schema if field.type == pa.int64()}
    assert whole == {"index", "step", "steps", "stopped_at", "seed", "axis.steps"}
    rows = found.to_pylist()
    assert [row["index"] for row in rows] == list(range(n))
    assert [row["seed"] for row in rows] == [2**63 - 1 - i for i in range(n)]
    assert [row["stopped_at"] for row in rows] == [None if i % 3 else i for i in range(n)]
    assert [row["activity"] for row in rows] == [i / 3 if i % 4 else None for i in range(n)]
    assert [row["error"] for row in rows] == [None if i % 2 else 'diverged, "NaN"\r\nat é' for i in range(n)]


def test_json_lines_are_the_rows() -> None:
    lines = b"".join(encoded([table_of(3), table_of(2, 3)], "jsonl")).decode().splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows == list(rows_of(table_of(5)))
    assert rows[1] == {
        "index": 1, "id": f"{1:026d}", "state": "succeeded", "step": 1, "steps": 5, "stopped_at": None, "error": None,
        "gamma": 1 / 7, "seed": 2**63 - 2, "axis.steps": 5, "grid": "[8, 8]", "activity": 1 / 3,
    }  # fmt: skip


def test_csv_reads_back_in_pandas() -> None:
    data = b"".join(encoded([table_of(3), table_of(2, 3)], "csv"))
    found = pd.read_csv(io.BytesIO(data), dtype={"id": str})
    assert list(found.columns) == COLUMNS
    for name, values in found.items():
        assert name in COLUMNS
        for back, value in zip(values.tolist(), [row[str(name)] for row in rows_of(table_of(5))], strict=True):
            assert back == value or (value is None and math.isnan(back))
    assert b"\n0," in data, "whole numbers have no decimal point"


def test_infinite_numbers_are_null_in_json_and_infinite_elsewhere() -> None:
    table = {"x": np.array([np.inf, 1.0])}
    assert b"".join(encoded([table], "jsonl")) == b'{"x": null}\n{"x": 1.0}\n'
    assert b"".join(encoded([table], "csv")) == b"x\ninf\n1.0\n"
    assert read(b"".join(encoded([table], "arrow")), "arrow").to_pydict() == {"x": [np.inf, 1.0]}


def test_columns_of_json_values() -> None:
    assert column([1, 2**63 - 1]).dtype == np.int64
    assert column([1, 2.5, None]).dtype == np.float64
    assert column(np.float32([0.5])).dtype == np.float64
    assert column(["a", None, 1, [1, 2], {"a": None}, True]).tolist() == [
        "a",
        None,
        "1",
        "[1, 2]",
        '{"a": null}',
        "true",
    ]
    assert column([True, False]).tolist() == ["true", "false"]
    assert column([]).dtype == np.int64


def test_pages_of_a_table_are_its_rows() -> None:
    chunks = [table_of(3), table_of(0, 3), table_of(4, 3)]
    found, start = [], 0
    while start is not None:
        part, start = page(chunks, start, 2)
        found.append(part["index"].tolist())
    assert found == [[0, 1], [2, 3], [4, 5], [6]]
    empty, following = page([table_of(0)], 0, 5)
    assert (list(empty), following) == (COLUMNS, None)
    assert page([table_of(4)], 0, 4)[1] is None
    assert page([table_of(4)], 9, 4)[0]["index"].tolist() == []


@pytest.mark.parametrize("format", FORMATS)
def test_a_table_is_written_while_it_is_read(format: str) -> None:
    """Each chunk is encoded before the next one is made, so that no answer needs the memory of the whole table."""
    asked = 0

    def chunks() -> Iterator[Columns]:
        nonlocal asked
        for number in range(4):
            asked += 1
            yield table_of(70_000, number * 70_000)

    answer = encoded(chunks(), format)
    while not next(answer):
        pass
    assert asked <= 2
    assert sum(map(len, answer)) > 0


def test_an_unknown_format_is_refused() -> None:
    with pytest.raises(ValueError, match="known: jsonl, csv, parquet, arrow"):
        encoded([], "xlsx")
