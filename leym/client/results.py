"""A job's results on the caller's side: lazy labelled arrays where xarray is installed, numpy otherwise, and files."""

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
ZIP = b"PK"  # how an npz file begins, also an empty one
RENDER_S = 120.0  # a long animation is rendered before its first byte is sent


class Arrays(Mapping[str, np.ndarray]):
    """Recorded fields as numpy arrays, each downloaded whole when it is first looked at."""

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
    answer = http.json("GET", f"{job}/frames", having=("items",))
    return list(answer["items"])


def array(
    http: Http, job: str, field: str, start: int | None, stop: int | None, stride: int
) -> tuple[np.ndarray, np.ndarray]:
    params: dict[str, int | str] = {"format": "npz", "stride": stride}
    params |= {key: value for key, value in (("start", start), ("stop", stop)) if value is not None}
    with _npz(http, f"{job}/frames/{segment(field)}", params) as file:
        return file["step"], file[field]


def series(http: Http, job: str) -> dict[str, np.ndarray]:
    with _npz(http, f"{job}/observables", {"format": "npz"}) as file:
        return {name: file[name] for name in file.files if name != "attributes"}


def observables(http: Http, job: str) -> xarray.Dataset | dict[str, np.ndarray]:
    arrays = series(http, job)
    if not _installed("xarray"):
        return arrays
    import xarray

    steps = arrays.pop("step")
    return xarray.Dataset({name: ("step", values) for name, values in arrays.items()}, {"step": steps})


def dataset(http: Http, job: str, names: Callable[[], list[str]]) -> xarray.Dataset | Arrays:
    if not (_installed("xarray") and _installed("zarr")):
        return Arrays(names(), lambda name: array(http, job, name, None, None, 1)[1])
    import xarray

    return xarray.open_zarr(_store(http, f"{job}/store.zarr"), consolidated=True, zarr_format=3, chunks=None)


def _store(http: Http, path: str) -> Any:
    """A zarr store over HTTP. obstore reads about three times as fast as fsspec, which is the fallback."""
    url = http.url + path
    if not _installed("obstore"):
        from zarr.storage import FsspecStore

        return FsspecStore.from_url(url, storage_options={"headers": http.headers}, read_only=True)
    from obstore.store import HTTPStore
    from zarr.storage import ObjectStore

    options: Any = {"allow_http": True, "default_headers": http.headers}
    return ObjectStore(HTTPStore.from_url(url, client_options=options), read_only=True)


def download(http: Http, job: str, name: str, path: Path, format: str | None, options: Mapping[str, Any]) -> int:
    """Save a field or the observables; returns the number of bytes. `-` is stdout."""
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


def _npz(http: Http, path: str, params: Mapping[str, Any]) -> Any:
    response = http.request("GET", path, params=params, timeout=RENDER_S)
    if not response.content.startswith(ZIP):
        raise http.unexpected(response, "and no npz file")
    return np.load(io.BytesIO(response.content), allow_pickle=False)


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
