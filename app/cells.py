"""Reads the time series of single cells, and distributions of values, from recorded frames and views of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.frame_files import check_size
from app.models.results import CellQuery, HistogramQuery
from leym.contract.catalog import shown_info
from leym.contract.problems import Problem, invalid
from leym.frames.histograms import histogram
from leym.frames.reader import FrameReader
from leym.frames.view_reader import ViewReader

Columns = dict[str, NDArray[Any]]


def cell_columns(reader: FrameReader, y: int, x: int, query: CellQuery) -> Columns:
    """Read the values of a field or view at one cell.

    Returns:
        `step`, int64 [n], and a column [n] per number: `re_0`, `im_0`, … of a complex field, `field_0`, … of one with
        several values per cell, `field` of another.

    Raises:
        Problem: 404 if the job does not record the field or the grid does not have the cell, 422 if there are too many
            frames for one answer.
    """
    source = ViewReader(reader)
    described = source.described(query.field)
    for key, at, side in zip(("y", "x"), (y, x), described["shape"][1:3], strict=True):
        if at >= side:
            raise Problem(404, "Not found", f"{key} = {at}: the grid has {key} from 0 to {side - 1}")
    steps = source.steps(query.field, query.start, query.stop, query.stride)
    steps = steps if query.last is None else steps[-query.last :]
    check_size(len(steps), source.frame_bytes(query.field))
    values = np.empty((len(steps), *described["shape"][3:]), described["dtype"])
    for i, frame in enumerate(_frames(source, query.field, steps, query.stride)):
        values[i] = frame[y, x]
    return {"step": steps} | _columns(query.field, values)


def histogram_columns(reader: FrameReader, field: str, query: HistogramQuery) -> tuple[Columns, NDArray[np.float64]]:
    """Count the values of a field or view per bin, frame by frame.

    Returns:
        The columns `step`, int64 [n], `outside`, int64 [n], `compression`, float64 [n], and `counts`, int64 [n, bins];
        and the edges of the bins, float64 [bins + 1].

    Raises:
        Problem: 404 if the job does not record the field; 422 for a complex field, a channel that the field does not
            have, an empty range, or too many frames.
    """
    source = ViewReader(reader)
    described, info = source.described(field), shown_info(field)
    if described["dtype"] == "complex64":
        raise invalid(f"field = {field!r}: it is complex; real, imag, phase or density have a distribution", "/field")
    low, high = _range(query, info.bounds or (0.0, 1.0))
    depth = described["shape"][3] if info.per_channel else 0
    if query.channel is not None and query.channel >= depth:
        has = f"channels 0 to {depth - 1}" if depth else "no channels"
        raise invalid(f"channel = {query.channel}: field {field!r} has {has}", "/channel")
    steps = source.steps(field, query.start, query.stop, query.stride)
    steps = steps if query.last is None else steps[-query.last :]
    check_size(len(steps), source.frame_bytes(field))
    counts = np.zeros((len(steps), query.bins), np.int64)
    outside, compression = np.zeros(len(steps), np.int64), np.zeros(len(steps))
    for i, frame in enumerate(_frames(source, field, steps, query.stride)):
        chosen = frame if query.channel is None else frame[..., query.channel]
        found = histogram(chosen, low, high, query.bins)
        counts[i], outside[i], compression[i] = found.counts, found.outside, found.compression
    columns = {"step": steps, "outside": outside, "compression": compression, "counts": counts}
    return columns, np.linspace(low, high, query.bins + 1)


def _range(query: HistogramQuery, bounds: tuple[float, float]) -> tuple[float, float]:
    low = bounds[0] if query.low is None else query.low
    high = bounds[1] if query.high is None else query.high
    if not low < high:
        raise invalid(f"low = {low:g}, high = {high:g}: low must be below high", "/low")
    return low, high


def _frames(source: ViewReader, field: str, steps: NDArray[np.int64], stride: int) -> Any:
    """Iterate over the frames at some steps, which follow each other `stride` frames apart."""
    if not len(steps):
        return
    for i, (_, frame) in enumerate(source.frames(field, int(steps[0]), int(steps[-1]) + 1, stride)):
        if i < len(steps):
            yield frame


def _columns(field: str, values: NDArray[Any]) -> Columns:
    if np.iscomplexobj(values):
        parts = {"re": values.real, "im": values.imag}
        return {f"{part}_{c}": of[:, c] for c in range(values.shape[1]) for part, of in parts.items()}
    if values.ndim == 1:
        return {field: values}
    return {f"{field}_{c}": values[:, c] for c in range(values.shape[1])}
