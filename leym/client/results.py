"""Reads the results of a job: labelled arrays where xarray is installed, NumPy arrays otherwise, and files."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from leym.client.http import Http, segment
from leym.common.files import output_file

if TYPE_CHECKING:
    import xarray

PICTURES = ("png", "gif", "webp")
ARRAYS = ("npy", "npz")
TABLES = ("json", "csv", "npz")
ZIP = b"PK"  # first bytes of an npz file, also of an empty one
RENDER_S = 120.0  # the service renders a whole animation before it sends the first byte


class LazyArrays(Mapping[str, np.ndarray]):
    """The recorded fields as NumPy arrays; each is downloaded whole when it is first used."""

    def __init__(self, names: list[str], load: Callable[[str], np.ndarray]):
        self._names, self._load = names, load
        self._loaded: dict[str, np.ndarray] = {}

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(f"{name!r} is not recorded; recorded: {', '.join(self._names) or 'nothing'}")
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def fields(http: Http, job: str) -> list[dict[str, Any]]:
    """List the recorded fields of the job at the path `job`."""
    answer = http.json("GET", f"{job}/frames", having=("items",))
    return list(answer["items"])


def array(
    http: Http, job: str, field: str, start: int | None, stop: int | None, stride: int
) -> tuple[np.ndarray, np.ndarray]:
    """Read the steps and the frames of a field, from step `start` to before step `stop`."""
    params: dict[str, int | str] = {"format": "npz", "stride": stride}
    params |= {key: value for key, value in (("start", start), ("stop", stop)) if value is not None}
    with _npz(http, f"{job}/frames/{segment(field)}", params) as file:
        return file["step"], file[field]


def series(http: Http, job: str) -> dict[str, np.ndarray]:
    """Read the observables as arrays, with `step` among them."""
    return _columns(http, f"{job}/observables", {})


def cell(http: Http, job: str, y: int, x: int, field: str, **options: float | None) -> dict[str, np.ndarray]:
    """Read one cell at every recorded step: `step`, and one array per component."""
    return _columns(http, f"{job}/cells/{y}/{x}", {"field": field, **options})


def histogram(http: Http, job: str, field: str, **options: float | None) -> dict[str, np.ndarray]:
    """Count the values of each frame of a field or view: `step`, `counts`, `edges`, `outside` and `compression`."""
    return _columns(http, f"{job}/frames/{segment(field)}/histogram", options)


def curve(http: Http, job: str) -> dict[str, np.ndarray]:
    """Read the curve of a training: `update`, int64 [n], and one float64 [n] per other column."""
    columns = http.json("GET", f"{job}/curve", having=("update",))
    return {name: np.array(values, np.int64 if name == "update" else np.float64) for name, values in columns.items()}


def observables(http: Http, job: str) -> xarray.Dataset | dict[str, np.ndarray]:
    """Read the observables as an xarray.Dataset over `step`, or as a dict of arrays without xarray."""
    arrays = series(http, job)
    if not installed("xarray"):
        return arrays
    import xarray

    steps = arrays.pop("step")
    return xarray.Dataset({name: ("step", values) for name, values in arrays.items()}, {"step": steps})


def dataset(http: Http, job: str, names: Callable[[], list[str]]) -> xarray.Dataset | LazyArrays:
    """Open the recorded fields as an xarray.Dataset; without xarray and zarr, as a mapping of arrays."""
    if not (installed("xarray") and installed("zarr")):
        return LazyArrays(names(), lambda name: array(http, job, name, None, None, 1)[1])
    return opened(http, job)


def opened(http: Http, job: str) -> xarray.Dataset:
    """Open the recorded fields of the job at the path `job` as an xarray.Dataset; needs xarray and zarr."""
    import xarray

    from leym.client.notebook.accessor import with_hints

    found: xarray.Dataset = xarray.open_zarr(
        open_store(http, f"{job}/store.zarr"), consolidated=True, zarr_format=3, chunks=None
    )
    return with_hints(found)


def open_store(http: Http, path: str) -> Any:
    """Open a Zarr store over HTTP, with obstore if it is installed: it reads about three times as fast as fsspec."""
    url = http.url + path
    if not installed("obstore"):
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(url, storage_options={"headers": http.headers}, read_only=True)
    from obstore.store import HTTPStore
    from zarr.storage import ObjectStore

    options: Any = {"allow_http": True, "default_headers": http.headers}
    return ObjectStore(HTTPStore.from_url(url, client_options=options), read_only=True)


def download(http: Http, job: str, name: str, path: Path, format: str | None, options: Mapping[str, Any]) -> int:
    """Save a field or the observables to a file, `-` for stdout, and return the number of bytes."""
    observed = name == "observables"
    format = format or path.suffix.removeprefix(".").lower()
    allowed = TABLES if observed else ARRAYS + PICTURES
    if format not in allowed:
        raise ValueError(f"format {format or '(none)'!r} of {path.name}: {name} can be saved as {', '.join(allowed)}")
    params = {"format": format} | {key: value for key, value in options.items() if value is not None}
    url = f"{job}/observables" if observed else f"{job}/frames/{segment(name)}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with http.stream(url, read_timeout_s=RENDER_S, params=params) as response:
        kind = response.headers.get("content-type", "")
        if response.status_code != 200 or kind.startswith("text/html"):
            raise http.unexpected(response, f"and no {format}")
        with output_file(path) as file:
            return sum(file.write(chunk) for chunk in response.iter_bytes())


def _columns(http: Http, path: str, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Read the arrays of an npz file, but for the attributes."""
    params = {"format": "npz"} | {key: value for key, value in options.items() if value is not None}
    with _npz(http, path, params) as file:
        return {name: file[name] for name in file.files if name != "attributes"}


def _npz(http: Http, path: str, params: Mapping[str, Any]) -> Any:
    response = http.request("GET", path, params=params, timeout=RENDER_S)
    if not response.content.startswith(ZIP):
        raise http.unexpected(response, "and no npz file")
    return np.load(io.BytesIO(response.content), allow_pickle=False)


def installed(module: str) -> bool:
    """Return True if a package can be imported."""
    return importlib.util.find_spec(module) is not None
