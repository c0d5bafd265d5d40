"""Requests the table of a sweep: as a data frame, as rows, or as a file."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from leym.client.http import Http
from leym.client.results import RENDER_S, installed
from leym.common.files import output_file
from leym.common.table_formats import FORMATS

if TYPE_CHECKING:
    import httpx2

Frame = Literal["pandas", "polars", "rows"]
FRAMES: tuple[Frame, ...] = ("pandas", "polars", "rows")
Names = str | Sequence[str]


def query_params(
    *,
    filter: Names = (),
    sort: str | None = None,
    descending: bool = False,
    aggregate: Names = (),
    over: Names | None = None,
    value: Names = (),
    window: tuple[int, int] | None = None,
) -> dict[str, Any]:
    """Return the parameters of a table's request; they are explained by `Sweep.table`."""
    params: dict[str, Any] = {"filter": _listed(filter), "sort": sort, "descending": "true" if descending else None}
    params |= {"aggregate": ",".join(_listed(aggregate)), "value": ",".join(_listed(value))}
    params["window"] = None if window is None else "{},{}".format(*window)
    found = {key: item for key, item in params.items() if item}
    return found | ({} if over is None else {"over": ",".join(_listed(over))})


def read(http: Http, path: str, frame: Frame | None, params: Mapping[str, Any]) -> Any:
    """Request a table.

    Args:
        http: connection to the service.
        path: path of the table.
        frame: "pandas", "polars" or "rows"; None for the first that is installed.
        params: parameters of the request.

    Returns:
        A data frame, or a list with one dict per row.

    Raises:
        ValueError: `frame` is unknown.
        ModuleNotFoundError: the library of `frame` is not installed.
    """
    if frame is None:
        frame = next(name for name in FRAMES if name == "rows" or installed(name))
    if frame not in FRAMES:
        raise ValueError(f"frame {frame!r} is unknown; known: {', '.join(FRAMES)}")
    if frame == "polars":
        import polars  # type: ignore[import-not-found]

        return polars.read_ipc_stream(io.BytesIO(_bytes(http, path, "arrow", params)))
    if frame == "rows":
        return _rows(http, path, params)
    import pandas  # type: ignore[import-untyped]

    if not installed("pyarrow"):
        return pandas.DataFrame(_rows(http, path, params))
    from pyarrow import ipc

    return ipc.open_stream(_bytes(http, path, "arrow", params)).read_pandas()


def save(http: Http, path: str, file: Path, format: str | None, params: Mapping[str, Any]) -> int:
    """Save a table to a file, `-` for stdout, and return the number of bytes.

    Raises:
        ValueError: the format is unknown.
    """
    format = format or file.suffix.removeprefix(".").lower()
    if format not in FORMATS:
        raise ValueError(f"format {format or '(none)'!r} of {file.name}: a table is saved as {', '.join(FORMATS)}")
    with http.stream(path, read_timeout_s=RENDER_S, params={**params, "format": format}) as response:
        _check(http, response, format)
        file.parent.mkdir(parents=True, exist_ok=True)
        with output_file(file) as output:
            return sum(output.write(chunk) for chunk in response.iter_bytes())


def _rows(http: Http, path: str, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in _bytes(http, path, "jsonl", params).splitlines()]


def _bytes(http: Http, path: str, format: str, params: Mapping[str, Any]) -> bytes:
    response = http.request("GET", path, params={**params, "format": format}, timeout=RENDER_S)
    _check(http, response, format)
    return response.content


def _check(http: Http, response: httpx2.Response, format: str) -> None:
    if response.status_code != 200 or not response.headers.get("content-type", "").startswith(FORMATS[format]):
        raise http.unexpected(response, f"and no table as {format}")


def _listed(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names)
