"""Writes tables of NumPy columns as JSON lines, CSV, Parquet and Arrow, one chunk after the other.

Missing values (NaN, None) are null, in CSV an empty cell. Parquet and Arrow need pyarrow: `pip install 'leym[tables]'`.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from leym.common.table_query import Columns, is_text, present
from leym.common.tables import delimited

if TYPE_CHECKING:
    import pyarrow

# Media type of each format.
FORMATS = {
    "jsonl": "application/x-ndjson",
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.stream",
}
WHOLE = ("stopped_at",)  # whole numbers that can be missing, so that they are float64 in a table
_WRITE_ROWS = 65_536  # rows of a row group of Parquet, at least


def column(values: Sequence[Any] | NDArray[Any]) -> NDArray[Any]:
    """Return JSON values as a column: int64, float64 (None is NaN), or an object array of text.

    Everything else becomes JSON text beside text: mappings, lists, booleans, and numbers in a mixed column.
    An axis has one type in all chunks if its values become a column once, from which chunks take theirs.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        return values.astype(np.float64 if values.dtype.kind == "f" else np.int64)
    if isinstance(values, range):
        return np.arange(values.start, values.stop, values.step, dtype=np.int64)
    found = list(values)
    kinds = {type(value) for value in found}
    if kinds <= {int}:
        return np.array(found, np.int64)
    if kinds <= {int, float, type(None)}:
        return np.array(found, np.float64)
    return text_column(found)


def text_column(values: Sequence[Any]) -> NDArray[Any]:
    """Return an object array of text, also of no values: str and None as they are, everything else as JSON."""
    texts = np.empty(len(values), object)
    texts[:] = [value if value is None or isinstance(value, str) else json.dumps(value) for value in values]
    return texts


def page(chunks: Iterable[Columns], start: int, limit: int) -> tuple[Columns, int | None]:
    """Return `limit` rows from row `start` on, and the row that follows them; None at the end of the table."""
    parts: list[Columns] = []
    passed, found = 0, 0
    for chunk in chunks:
        rows = _rows(chunk)
        low, high = max(0, start - passed), min(rows, start + limit + 1 - passed)
        if low < high or not parts:
            parts.append({name: values[low:high] for name, values in chunk.items()})
            found += max(0, high - low)
        passed += rows
        if found > limit:
            break
    table = {name: np.concatenate([part[name] for part in parts])[:limit] for name in parts[0]} if parts else {}
    return table, start + limit if found > limit else None


def rows_of(table: Columns) -> Iterator[dict[str, Any]]:
    """Yield the rows as dicts of JSON values; missing and infinite numbers are None."""
    names = list(table)
    for row in zip(*(_json_values(name, values) for name, values in table.items()), strict=True):
        yield dict(zip(names, row, strict=True))


def encoded(chunks: Iterable[Columns], format: str, metadata: Mapping[str, str] | None = None) -> Iterator[bytes]:
    """Yield a table in one of FORMATS. Chunks without rows are allowed; a table without chunks is an empty file.

    Args:
        chunks: pieces of one table, all with the same columns and dtypes.
        format: `jsonl` (one object per line), `csv`, `parquet`, or `arrow` (the stream form of Arrow IPC).
        metadata: texts for the metadata of the schema of `parquet` and `arrow`; other formats have no place for them.

    Raises:
        ValueError: the format is unknown.
        ModuleNotFoundError: the format needs pyarrow, which is not installed.
    """
    writers: dict[str, Callable[[Iterable[Columns]], Iterator[bytes]]] = {
        "jsonl": _json_lines,
        "csv": _csv,
        "parquet": partial(_parquet, metadata=metadata),
        "arrow": partial(_arrow, metadata=metadata),
    }
    if format not in writers:
        raise ValueError(f"format {format!r} is unknown; known: {', '.join(writers)}")
    return writers[format](chunks)


def _json_lines(chunks: Iterable[Columns]) -> Iterator[bytes]:
    for chunk in chunks:
        yield "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows_of(chunk)).encode()


def _csv(chunks: Iterable[Columns]) -> Iterator[bytes]:
    for number, chunk in enumerate(chunks):
        if number == 0:
            yield delimited([list(chunk)]).encode()
        cells = [_cells(name, values) for name, values in chunk.items()]
        yield delimited(zip(*cells, strict=True)).encode()


def _arrow(chunks: Iterable[Columns], metadata: Mapping[str, str] | None) -> Iterator[bytes]:
    from pyarrow import ipc

    sink, writer = _Drained(), None
    for chunk in chunks:
        batch = record_batch(chunk, metadata)
        writer = writer or ipc.new_stream(sink, batch.schema)
        writer.write_batch(batch)
        yield sink.drain()
    if writer is not None:
        writer.close()
        yield sink.drain()


def _parquet(chunks: Iterable[Columns], metadata: Mapping[str, str] | None) -> Iterator[bytes]:
    import pyarrow
    from pyarrow import parquet

    sink, writer, waiting = _Drained(), None, list[pyarrow.RecordBatch]()
    for chunk in chunks:
        batch = record_batch(chunk, metadata)
        writer = writer or parquet.ParquetWriter(sink, batch.schema, compression="zstd")
        waiting.append(batch)
        if sum(part.num_rows for part in waiting) >= _WRITE_ROWS:
            writer.write_table(pyarrow.Table.from_batches(waiting))
            waiting.clear()
            yield sink.drain()
    if writer is not None:
        if waiting:
            writer.write_table(pyarrow.Table.from_batches(waiting))
        writer.close()
        yield sink.drain()


def record_batch(table: Columns, metadata: Mapping[str, str] | None = None) -> pyarrow.RecordBatch:
    """Return a table as a record batch of Arrow: int64, float64 and string, with null for missing values.

    Args:
        table: the columns.
        metadata: texts for the metadata of its schema.
    """
    import pyarrow

    arrays = []
    for name, values in table.items():
        kind = pyarrow.string() if is_text(values) else None
        data = _texts(values) if values.dtype.kind == "S" else values
        array = pyarrow.array(data, type=kind, mask=~present(values))
        arrays.append(array.cast(pyarrow.int64()) if name in WHOLE and values.dtype.kind == "f" else array)
    batch = pyarrow.RecordBatch.from_arrays(arrays, names=list(table))
    return batch.replace_schema_metadata(dict(metadata)) if metadata else batch


class _Drained(io.RawIOBase):
    """A file to append to; `drain` returns the bytes since the last call."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        part = bytes(data)
        self._parts.append(part)
        self._size += len(part)
        return len(part)

    def tell(self) -> int:
        return self._size

    def drain(self) -> bytes:
        parts, self._parts = self._parts, []
        return b"".join(parts)


def _rows(table: Columns) -> int:
    return len(next(iter(table.values()))) if table else 0


def _texts(values: NDArray[Any]) -> list[str]:
    return [text.decode() for text in values.tolist()]


def _cells(name: str, values: NDArray[Any]) -> list[Any]:
    """Return Python values, with None for missing ones."""
    if values.dtype.kind == "S":
        return _texts(values)
    if values.dtype.kind != "f":
        return list(values.tolist())
    there = present(values)
    filled = np.where(there, values, 0).astype(np.int64) if name in WHOLE else values
    return [value if known else None for value, known in zip(filled.tolist(), there.tolist(), strict=True)]


def _json_values(name: str, values: NDArray[Any]) -> list[Any]:
    """Return the cells, with None for infinite numbers too, which JSON does not have."""
    return _cells(name, np.where(np.isfinite(values), values, np.nan) if values.dtype.kind == "f" else values)
