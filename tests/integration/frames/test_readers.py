"""Array libraries of others read a job over HTTP: what they get, and how many requests that takes (docs/readers.md)."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
import zarr
from werkzeug.serving import make_server

from tests.support.api import Api, done, number, opened, value

FRAMES = 2001
LONG: dict[str, Any] = {
    "grid": [64, 64],
    "steps": FRAMES - 1,
    "record": [{"field": "phase", "every": 1}],
    "observe": {"every": 1, "names": ["coherence"]},
}
CHUNKS = 32  # frames of 64 x 64 float32 are 16 KiB, 64 of them one chunk of 1 MiB, and the last chunk has 17


class Asked:
    """A real server before an app, which counts what it is asked for."""

    def __init__(self, app: Any):
        self._app, self.paths = app, Counter[str]()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        self.paths[environ["PATH_INFO"].partition("store.zarr/")[2]] += 1
        return self._app(environ, start_response)

    def chunks(self, array: str) -> int:
        return sum(n for path, n in self.paths.items() if path.startswith(f"{array}/c/"))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with opened(tmp_path_factory.mktemp("api")) as found:
        yield found


@pytest.fixture(scope="module")
def long(api: Api) -> str:
    return done(api, **LONG)


@pytest.fixture(scope="module")
def short(api: Api) -> str:
    return done(api)


@pytest.fixture
def asked(api: Api) -> Iterator[Asked]:
    found = Asked(api.app)
    server = make_server("127.0.0.1", 0, found, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found.url = lambda job: f"http://127.0.0.1:{server.server_port}/v1/jobs/{job}/store.zarr"  # type: ignore[attr-defined]
    yield found
    server.shutdown()


def by_zarr(url: str, arrays: list[str]) -> dict[str, np.ndarray]:
    group = zarr.open_group(url, mode="r")
    return {name: np.asarray(group[name][:]) for name in arrays}  # type: ignore[index]


def by_xarray(url: str, arrays: list[str]) -> dict[str, np.ndarray]:
    with xarray.open_zarr(url, chunks=None) as found:
        return {name: np.asarray(found[name].values) for name in arrays}


def by_dask(url: str, arrays: list[str]) -> dict[str, np.ndarray]:
    pytest.importorskip("dask")
    with xarray.open_zarr(url) as found:
        assert found[arrays[0]].chunks, "with dask installed, xarray.open_zarr uses it"
        return {name: np.asarray(found[name].values) for name in arrays}


def by_tensorstore(url: str, arrays: list[str]) -> dict[str, np.ndarray]:
    tensorstore = pytest.importorskip("tensorstore")
    found = {}
    for name in arrays:
        store = {"driver": "http", "base_url": f"{url}/", "path": f"{name}/"}
        opened = tensorstore.open({"driver": "zarr3", "kvstore": store}, read=True).result()
        found[name] = np.asarray(opened.read().result())
    return found


ZARRS = """
import sys, numpy, zarr
_, url, target, *arrays = sys.argv
with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}):
    group = zarr.open_group(url, mode="r")
    numpy.savez(target, **{name: group[name][:] for name in arrays})
"""


def by_zarrs(url: str, arrays: list[str]) -> dict[str, np.ndarray]:
    """In a process of its own: it keeps Python's lock while it reads, so that a server of its own process waits."""
    pytest.importorskip("zarrs")
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "read.npz")
        subprocess.run([sys.executable, "-c", ZARRS, url, target, *arrays], check=True, timeout=240)
        return dict(np.load(target))


READERS = (by_zarr, by_xarray, by_dask, by_tensorstore, by_zarrs)
Read = Callable[[str, list[str]], dict[str, np.ndarray]]

ARRAYS: dict[str, tuple[tuple[int, ...], str, int]] = {  # shape of a frame, dtype, recorded every
    "phase": ((8, 12), "float32", 3),
    "channel_power": ((8, 12, 4), "float16", 5),
    "psi": ((8, 12, 4), "complex64", 10),
    "activity": ((), "float64", 2),
    "step_3": ((), "int64", 3),
}


def recorded(array: str, step: int) -> Any:
    if array == "step_3":
        return step
    return number("activity", step) if array == "activity" else value(array, step, *ARRAYS[array][:2])


@pytest.mark.parametrize("read", READERS)
def test_every_reader_reads_every_type(asked: Any, short: str, read: Read) -> None:
    found = read(asked.url(short), list(ARRAYS))
    for name, (_, dtype, every) in ARRAYS.items():
        expected = np.array([recorded(name, step) for step in range(0, 31, every)], dtype)
        assert found[name].dtype == dtype, name
        assert np.array_equal(found[name], expected), name


@pytest.mark.parametrize("read", READERS)
def test_a_reader_asks_once_per_chunk(asked: Any, long: str, read: Read) -> None:
    found = read(asked.url(long), ["phase"])["phase"]
    assert found.shape == (FRAMES, 64, 64)
    for step in (0, 63, 64, 1999, 2000):
        assert np.array_equal(found[step], value("phase", step, (64, 64), "float32"))
    chunks = 2 * CHUNKS if read is by_zarrs else CHUNKS  # zarrs asks for the size of each first
    assert asked.chunks("phase") == chunks
    assert asked.paths.total() <= chunks + 12, asked.paths


def test_dask_gets_the_chunks_of_the_store_as_its_own(asked: Any, long: str) -> None:
    pytest.importorskip("dask")
    with xarray.open_zarr(asked.url(long)) as found:
        assert found["phase"].encoding["preferred_chunks"] == {"step": 64, "y": 64, "x": 64}
        assert found["phase"].chunks == ((64,) * 31 + (17,), (64,), (64,))
        before = asked.paths.total()
        mean = found["phase"].isel(step=slice(128, 192)).mean().compute()
        assert asked.paths.total() - before == 1, "one chunk is all that this needs"
    expected = [value("phase", step, (64, 64), "float32") for step in range(128, 192)]
    assert np.isclose(mean, np.mean(expected, dtype=np.float64), atol=1e-6)
