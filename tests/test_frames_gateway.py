"""The Zarr gateway, read by the real array libraries over real HTTP."""

from __future__ import annotations

import dataclasses
import json
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import xarray
import zarr

from leym.frames import gateway
from leym.frames.layout import TABLE_ROWS, arrays_of, job_prefix
from leym.frames.store import open_store
from leym.frames.writer import FrameWriter
from leym.problems import Problem
from leym.spec import JobSpec
from tests.test_frames_support import SPEC, Writing, frame


@pytest.fixture(params=["file", "memory"])
def served(request, monkeypatch, tmp_path):
    """A job with shards of four frames, and the gateway behind a real HTTP server."""
    monkeypatch.setattr("leym.frames.layout.SHARD_FRAMES", 4)
    job = Writing(open_store(tmp_path.as_uri() if request.param == "file" else "memory://"))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            try:
                found = gateway.answer(
                    job.store,
                    lambda: job.row,
                    self.path.removeprefix("/store.zarr/"),
                    method=self.command,
                    range_header=self.headers.get("Range"),
                    if_none_match=self.headers.get("If-None-Match"),
                )
                status, headers, body = found.status, found.headers, found.body
            except Problem as problem:
                status, headers, body = problem.status, {"Content-Length": "0"}, b""
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    job.url = f"http://127.0.0.1:{server.server_port}/store.zarr"
    yield job
    server.shutdown()
    server.server_close()


def asked(job: Writing, path: str, **how) -> gateway.Answer:
    return gateway.answer(job.store, lambda: job.row, path, **how)


def test_zarr_and_xarray_read_a_job_that_is_being_written(served):
    served.steps(2)
    served.commit()
    over, reads = threading.Event(), threading.Semaphore(0)

    def write():
        try:
            for i in range(60):
                if i % 6 == 0:  # during every read there are some commits, and no read has to catch up with them all
                    reads.acquire()
                served.steps(2)
                served.commit()
                if i == 30:
                    served.checkpoint = served.at - 20
                    served.crash()
        finally:
            over.set()

    threading.Thread(target=write, daemon=True).start()
    lengths = set()
    while True:
        last = over.is_set()
        reads.release()
        group = zarr.open_group(served.url, mode="r")
        psi = group["psi"][:]
        for step, found in enumerate(psi):
            assert np.array_equal(found, frame(step)[0]["psi"]), f"step {step}"
        assert np.isfinite(group["observables/activity"][:]).all()
        lengths.add(len(psi))
        if last:
            break
    assert len(lengths) > 1 and max(lengths) == served.at + 1
    with xarray.open_zarr(served.url) as found:
        assert found["psi"].dims == ("step_1", "y", "x", "channel")
        assert found["phase"].dims == ("step_2", "y", "x")
        assert found["step_2"].values.tolist() == list(range(0, len(found["phase"]) * 2, 2))
        assert found["phase"].attrs["units"] == "rad" and found["phase"].dtype == np.float16
        assert found.attrs["law"] == served.row.law and json.loads(found.attrs["spec"])["steps"] == 10_000
        frames = len(found["psi"])
    with xarray.open_zarr(served.url, group="observables") as found:
        assert np.array_equal(found["coherence"].values, -np.arange(frames, dtype=float))
        assert found["step_1"].values.tolist() == list(range(frames)) and found.attrs["law"] == served.row.law


def test_the_gateway_answers_ranges_tags_and_keys_as_http_does(served):
    served.steps(6)
    served.commit()
    ask = partial(asked, served)
    whole = ask("psi/c/0/0/0/0")
    head = ask("psi/c/0/0/0/0", method="HEAD")
    assert head.body == b"" and head.headers == whole.headers
    size = len(whole.body)
    for text, start, stop in (("0-9", 0, 10), ("5-", 5, size), ("-7", size - 7, size), (f"0-{size * 2}", 0, size)):
        part = ask("psi/c/0/0/0/0", range_header=f"bytes={text}")
        assert part.status == 206 and part.body == whole.body[start:stop]
        assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
    for text in (f"{size}-", "-0"):
        refused = ask("psi/c/0/0/0/0", range_header=f"bytes={text}")
        assert refused.status == 416 and refused.headers["Content-Range"] == f"bytes */{size}"
    for text in ("bytes=5-3", "bytes=-", "bytes=0-1,3-4", "frames=0-1", "bytes=" + "9" * 5000 + "-"):
        assert ask("psi/c/0/0/0/0", range_header=text) == whole, "no range that is served: the whole object"
    assert ask("psi/c/0/0/0/0", if_none_match=whole.headers["ETag"]).status == 304
    filling = ask("psi/c/1/0/0/0").headers["ETag"]
    served.steps(1)
    served.commit()
    assert ask("psi/c/1/0/0/0", if_none_match=filling).status == 200
    for path in (
        "psi/c/2/0/0/0",
        "psi/c/0/0/0",
        "psi/c/0/1/0/0",
        "psi/c/-1/0/0/0",
        "nothing/zarr.json",
        "../x",
        "",
        "observables/zarr.json/zarr.json",
        "psi/observables/zarr.json",
        "step_2/step_2/zarr.json",
    ):
        with pytest.raises(Problem) as refusal:
            ask(path)
        assert refusal.value.status == 404, path
    served.row = dataclasses.replace(served.row, deleted_at=1.0)
    with pytest.raises(Problem) as refusal:
        ask("zarr.json")
    assert refusal.value.status == 410


def test_the_consolidated_metadata_is_that_of_every_array(served):
    served.steps(3)
    served.commit()
    group = zarr.open_consolidated(served.url)
    fields, observables = {"psi", "phase", "step_1", "step_2"}, {"activity", "coherence", "step_1"}
    assert set(group.array_keys()) == fields | observables and set(group["observables"].array_keys()) == observables
    names = fields | observables | {f"observables/{name}" for name in observables}
    for name in names:
        alone = zarr.open_array(f"{served.url}/{name}", mode="r")
        assert alone.metadata.to_dict() | {"fill_value": 0} == group[name].metadata.to_dict() | {"fill_value": 0}
        assert alone.fill_value == 0 if "step" in name else np.isnan(alone.fill_value)
    below = zarr.open_consolidated(f"{served.url}/observables")
    assert set(below.array_keys()) == observables and dict(below.attrs) == dict(group["observables"].attrs)
    with xarray.open_zarr(served.url, consolidated=True) as found:
        assert set(found.variables) == fields | observables and found["psi"].shape == (3, 4, 6, 3)
    assert group.attrs["state"] == "running" and group.attrs["seed"] == 0 and group["phase"].attrs["formula"]


def test_a_field_and_an_observable_of_one_name_are_both_read_under_it(served, monkeypatch):
    record = [{"field": "activity", "every": 2}]
    spec = JobSpec.model_validate(SPEC | {"record": record}).model_dump(mode="json")
    served.row = dataclasses.replace(served.row, spec=spec)
    served.arrays = arrays_of(served.row)
    served.writer = FrameWriter(served.store, served.row.id, 1, served.arrays, None)
    for step in range(5):
        cells = {"activity": np.full((4, 6), step, np.float32)} if step % 2 == 0 else {}
        served.writer.append(step, cells, {"activity": step / 7, "coherence": 1.0})
    served.at = 4
    served.commit()
    with xarray.open_datatree(served.url, engine="zarr") as tree:
        assert tree["activity"].dims == ("step_2", "y", "x") and tree["activity"].values[2].max() == 4
        assert tree["observables/activity"].values.tolist() == [0, 1 / 7, 2 / 7, 3 / 7, 4 / 7]
        assert set(tree["observables"].data_vars) == {"activity", "coherence"}
        assert tree["coherence"].values.tolist() == [1.0] * 5, "no field has this name: it stands at the root too"


def test_every_attribute_and_every_dtype_goes_into_netcdf_and_back(served, tmp_path):
    """The attributes are those of a real run: a spec with structure, and segments that the engine described."""
    served.writer.describe(0, {"rung": 8, "kernel": "fused", "device": None, "compiled": True})
    served.steps(3)
    served.commit()
    observables = {"activity", "coherence"}
    for group, names in ((None, {"psi", "phase"} | observables), ("observables", observables)):
        with xarray.open_zarr(served.url, group=group) as found:
            found.to_netcdf(tmp_path / "job.nc")
            with xarray.open_dataset(tmp_path / "job.nc") as back:
                assert set(back.data_vars) == names
                xarray.testing.assert_identical(found.load(), back.load())
                assert {name: back[name].dtype for name in names} == {name: found[name].dtype for name in names}
                assert json.loads(back.attrs["spec"]) == served.row.spec
                assert json.loads(back.attrs["segments"])[0]["kernel"] == "fused"
                assert back.attrs["seed"] == 0 and back.attrs["gamma"] == 0.01
    with xarray.open_datatree(served.url, engine="zarr") as tree:
        tree.to_netcdf(tmp_path / "tree.nc")


def test_array_libraries_see_an_error_for_a_broken_shard_and_never_a_hole(served):
    served.steps(8)
    served.commit()
    key = sorted(served.store.list(f"{job_prefix(served.row.id)}psi/"))[1]
    whole = served.store.get(key)
    index = len(whole) - (16 * 4 + 4)
    for broken in (whole[:-1], whole[:10], b"", whole[: index + 3] + b"?" + whole[index + 4 :], whole[index:]):
        served.store.put(key, broken)
        for how in ({}, {"range_header": "bytes=-68"}):
            with pytest.raises(Problem) as refusal:
                asked(served, "psi/c/1/0/0/0", **how)
            assert refusal.value.status == 503
        check_unreadable(served)
    served.store.put(key, whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])  # only a frame: its own checksum tells
    check_unreadable(served)
    served.store.delete([key])
    check_unreadable(served)
    served.store.put(key, whole)
    assert np.array_equal(zarr.open_group(served.url, mode="r")["psi"][7], frame(7)[0]["psi"])


def check_unreadable(served: Writing) -> None:
    psi = zarr.open_group(served.url, mode="r")["psi"]
    for part in (slice(None), 4):
        with pytest.raises(Exception, match=r"503|checksum") as refusal:
            psi[part]
        assert not isinstance(refusal.value, FileNotFoundError), "zarr takes that for an empty chunk"
    assert np.array_equal(psi[3], frame(3)[0]["psi"]), "the shard before it can be read"


def test_a_partial_shard_can_be_read_while_a_newer_version_takes_its_place(served):
    served.steps(2)
    served.commit()
    before, old = served.row, asked(served, "psi/c/0/0/0/0").body
    index = np.frombuffer(asked(served, "psi/c/0/0/0/0", range_header="bytes=-68").body[:64], "<u8").reshape(4, 2)
    served.steps(1)
    served.commit()
    rows = iter([before, served.row])  # the row was read, then a commit took the object away
    found = gateway.answer(served.store, lambda: next(rows), "psi/c/0/0/0/0", range_header="bytes=-68")
    assert found.status == 206 and found.body == asked(served, "psi/c/0/0/0/0").body[-68:]
    for at, length in index[:2].tolist():
        part = asked(served, "psi/c/0/0/0/0", range_header=f"bytes={at}-{at + length - 1}").body
        assert part == old[at : at + length], "the index of the earlier version finds the same frames"


def test_frames_that_are_stored_but_not_due_to_be_seen_are_not_seen(served):
    served.steps(5)
    early = served.writer.flush()
    served.steps(2)
    late = served.writer.flush()  # psi has more than the numbers that share its steps
    arrays = late["arrays"] | {"observables": early["arrays"]["observables"]}
    served.row = dataclasses.replace(served.row, manifest=late | {"arrays": arrays})
    with xarray.open_zarr(served.url) as found:
        assert found.sizes["step_1"] == 5 and np.isfinite(found["psi"].values).all()
        assert found["step_1"].values.tolist() == [0, 1, 2, 3, 4]
    with xarray.open_zarr(served.url, group="observables") as found:
        assert found.sizes["step_1"] == 5 and np.isfinite(found["activity"].values).all()


def test_only_whole_shards_of_a_job_that_is_over_are_kept_by_caches(served):
    served.steps(6)
    served.commit()
    cache = lambda path: asked(served, path).headers["Cache-Control"]  # noqa: E731
    paths = ("psi/c/0/0/0/0", "psi/c/1/0/0/0", "zarr.json", "psi/zarr.json", "observables/activity/c/0", "step_1/c/0")
    assert {cache(path) for path in paths} == {"no-cache"}
    served.row = dataclasses.replace(served.row, state="succeeded")
    assert "immutable" in cache(paths[0]) and {cache(path) for path in paths[1:]} == {"no-cache"}


def test_numbers_fill_their_chunk(served):
    served.steps(3)
    served.commit()
    numbers = np.frombuffer(asked(served, "observables/activity/c/0").body, "<f8")
    steps = np.frombuffer(asked(served, "step_2/c/0").body, "<i8")
    assert len(numbers) == len(steps) == TABLE_ROWS
    assert numbers[:3].tolist() == [0, 1 / 7, 2 / 7] and np.isnan(numbers[3:]).all() and steps[:2].tolist() == [0, 2]
