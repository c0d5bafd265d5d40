"""Every table that the service writes reads back the same in pandas, whatever characters its cells and names hold."""

from __future__ import annotations

import io
import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from leym.common.tables import delimited

TEXTS = st.text() | st.sampled_from(
    ["a\rb", "\r", "\n", "\r\n", "a\tb", 'a"b', '"', " a ", "NA", "007", "", "\0", ",", "é"]
)
NUMBERS = st.floats() | st.integers(-(2**63), 2**63 - 1)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    names = draw(st.lists(TEXTS.filter(bool), min_size=1, max_size=4, unique=True))
    row = st.lists(TEXTS, min_size=len(names), max_size=len(names))
    return [f"x{name}" for name in names], draw(st.lists(row, max_size=4))


@pytest.mark.parametrize("delimiter", [",", "\t"])
@given(table=tables())
def test_text_reads_back_in_pandas(delimiter: str, table: tuple[list[str], list[list[str]]]) -> None:
    names, rows = table
    file = io.BytesIO(delimited([names, *rows], delimiter).encode())
    found = pd.read_csv(file, sep=delimiter, dtype=str, keep_default_na=False, skip_blank_lines=False)
    assert list(found.columns) == names
    assert found.to_numpy().tolist() == rows


@given(values=st.lists(st.floats(), min_size=1, max_size=9), whole=st.integers(-(2**63), 2**63 - 1))
def test_numbers_read_back_in_pandas(values: list[float], whole: int) -> None:
    text = delimited([["step", "value", "missing"], *([whole, value, None] for value in values)])
    found = pd.read_csv(io.StringIO(text))
    assert found["step"].tolist() == [whole] * len(values)
    assert found["missing"].isna().all()
    for back, value in zip(found["value"].tolist(), values, strict=True):
        assert back == value or (math.isnan(back) and math.isnan(value))


def test_a_line_has_one_end_whatever_is_in_it() -> None:
    assert delimited([["a", "b"], [1, "x\ry"], [0.1, None], [{"z": [1]}, ""]]) == (
        'a,b\n1,"x\ry"\n0.1,\n"{""z"": [1]}",\n'
    )
