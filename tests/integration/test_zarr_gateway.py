"""The Zarr gateway, read by the real array libraries over real HTTP.

`test_http_conditions.py` has ranges, tags and caches, `test_readers.py` the requests of other libraries.
"""

from __future__ import annotations

import dataclasses
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec

from leym.contract.problems import Problem
from leym.contract.spec import JobSpec
from leym.frames import zarr_gateway
from leym.frames.layout import TABLE_ROWS, arrays_of, job_prefix
from leym.frames.shards import decode_frame
from leym.frames.stores.open import open_store
from leym.frames.writer import FrameWriter
from tests.support.frames import SPEC, Row, Writing, frame

PSI_BYTES = 4 * 6 * 3 * 8
IN_CHUNK = 3  # frames of psi, of which four are in a shard: some chunks are parts of two objects


@pytest.fixture(params=["file", "memory"])
def served(request, monkeypatch, tmp_path):
    """A job with shards of four frames and chunks of three, and the gateway behind a real HTTP server."""
    monkeypatch.setattr("leym.frames.layout.SHARD_FRAMES", 4)
    monkeypatch.setattr("leym.frames.layout.CHUNK_BYTES", IN_CHUNK * PSI_BYTES)
    job = Writing(open_store(tmp_path.as_uri() if request.param == "file" else "memory://"))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            try:
                status, body = (
                    200,
                    zarr_gateway.find(job.store, lambda: job.row, self.path.removeprefix("/store.zarr/")).body,
                )
            except Problem as problem:
                status, body = problem.status, b""
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(b"" if self.command == "HEAD" else body)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    job.url = f"http://127.0.0.1:{server.server_port}/store.zarr"
    yield job
    server.shutdown()
    server.server_close()


def asked(job: Writing, path: str) -> bytes:
    return zarr_gateway.find(job.store, lambda: job.row, path).body


def chunk_of_psi(body: bytes) -> np.ndarray:
    return decode_frame(body, "complex64", (IN_CHUNK, 4, 6, 3))


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
    assert len(lengths) > 1
    assert max(lengths) == served.at + 1
    with xarray.open_zarr(served.url) as found:
        assert found["psi"].dims == ("step_1", "y", "x", "channel")
        assert found["phase"].dims == ("step_2", "y", "x")
        assert found["step_2"].values.tolist() == list(range(0, len(found["phase"]) * 2, 2))
        assert found["phase"].attrs["units"] == "rad"
        assert found["phase"].dtype == np.float16
        assert found.attrs["law"] == served.row.law
        assert json.loads(found.attrs["spec"])["steps"] == 10_000
        frames = len(found["psi"])
    with xarray.open_zarr(served.url, group="observables") as found:
        assert np.array_equal(found["coherence"].values, -np.arange(frames, dtype=float))
        assert found["step_1"].values.tolist() == list(range(frames))
        assert found.attrs["law"] == served.row.law


def test_keys_that_were_never_due_are_not_found(served):
    served.steps(7)
    served.commit()
    assert len(chunk_of_psi(asked(served, "psi/c/2/0/0/0"))) == IN_CHUNK
    nowhere = [
        "psi/c/3/0/0/0",
        "psi/c/0/0/0",
        "psi/c/0/1/0/0",
        "psi/c/-1/0/0/0",
        "psi/c/00/0/0/0",
        "activity/c/1",
        "observables/activity/c/1",
    ]
    for path in (
        *nowhere,
        "step_1/c/1",
        "observables/zarr.json/zarr.json",
        "psi/observables/zarr.json",
        "step_2/step_2/zarr.json",
        "nothing/zarr.json",
        "nothing/c/0",
        "/zarr.json",
        "zarr.json/",
        "../x",
        "",
    ):
        with pytest.raises(Problem) as refusal:
            asked(served, path)
        assert refusal.value.status == 404, path
    served.row = dataclasses.replace(served.row, deleted_at=1.0)
    with pytest.raises(Problem) as refusal:
        asked(served, "zarr.json")
    assert refusal.value.status == 410


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["1", "2", "5", "commit", "checkpoint", "crash", "lost"]), max_size=25))
def test_chunks_hold_every_frame_that_was_ever_shown_and_none_that_is_not_committed(doings):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("leym.frames.layout.SHARD_FRAMES", 4)
        patch.setattr("leym.frames.layout.CHUNK_BYTES", IN_CHUNK * PSI_BYTES)
        job = Writing(open_store("memory://"))
        shown = 0  # a reader that has opened the array goes by this length from then on
        for doing in doings:
            if doing.isdigit():
                job.steps(int(doing))
            elif doing == "crash":
                job.crash()
            elif doing == "lost":
                job.writer.flush()
                job.crash()
            else:
                job.commit()
                if doing == "checkpoint":
                    job.checkpoint = job.at
            now = json.loads(asked(job, "psi/zarr.json"))["shape"][0]
            assert now >= shown
            shown = now
            for number in range(-(-shown // IN_CHUNK)):
                for i, found in enumerate(chunk_of_psi(asked(job, f"psi/c/{number}/0/0/0")), number * IN_CHUNK):
                    assert np.array_equal(found, frame(i)[0]["psi"]) if i < shown else np.isnan(found).all()


CHUNKS = [  # grid, field, dtype, recorded every, steps; bytes of a frame, frames of a chunk
    ((64, 64), "phase", "float32", 1, 2000, 16_384, 64),
    ((64, 64), "phase", "float16", 1, 2000, 8_192, 128),
    ((100, 100), "phase", "float32", 1, 2000, 40_000, 26),
    ((64, 64), "psi", "complex64", 1, 2000, 262_144, 4),
    ((512, 512), "phase", "float32", 1, 20, 1_048_576, 1),
    ((512, 512), "psi", "complex64", 1, 20, 16_777_216, 1),
    ((64, 64), "phase", "float32", 10, 400, 16_384, 41),  # no more than the job will have
    ((64, 64), "phase", "float32", 1, 1, 16_384, 2),
]


@pytest.mark.parametrize(("grid", "field", "dtype", "every", "steps", "frame_bytes", "frames"), CHUNKS)
def test_small_frames_share_a_chunk_of_at_most_a_mebibyte(grid, field, dtype, every, steps, frame_bytes, frames):
    record = [{"field": field, "every": every, "dtype": dtype}]
    spec = JobSpec.model_validate({"law": "tiny", "grid": grid, "steps": steps, "record": record})
    [array] = arrays_of(Row(spec=spec.model_dump(mode="json"), d_state=8))
    assert (array.frame_bytes, array.chunk_frames) == (frame_bytes, frames)
    enough = steps // every + 1 > frames
    assert frames == 1 or not enough or 2**18 <= frames * frame_bytes <= 2**20


def test_the_consolidated_metadata_is_that_of_every_array(served):
    served.steps(3)
    served.commit()
    group = zarr.open_consolidated(served.url)
    fields, observables = {"psi", "phase", "step_1", "step_2"}, {"activity", "coherence", "step_1"}
    assert set(group.array_keys()) == fields | observables
    assert set(group["observables"].array_keys()) == observables
    names = fields | observables | {f"observables/{name}" for name in observables}
    for name in names:
        alone = zarr.open_array(f"{served.url}/{name}", mode="r")
        assert alone.metadata.to_dict() | {"fill_value": 0} == group[name].metadata.to_dict() | {"fill_value": 0}
        assert alone.fill_value == 0 if "step" in name else np.isnan(alone.fill_value)
    below = zarr.open_consolidated(f"{served.url}/observables")
    assert set(below.array_keys()) == observables
    assert dict(below.attrs) == dict(group["observables"].attrs)
    with xarray.open_zarr(served.url, consolidated=True) as found:
        assert set(found.variables) == fields | observables
        assert found["psi"].shape == (3, 4, 6, 3)
    assert group.attrs["state"] == "running"
    assert group.attrs["seed"] == 0
    assert group["phase"].attrs["formula"]


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
        assert tree["activity"].dims == ("step_2", "y", "x")
        assert tree["activity"].values[2].max() == 4
        assert tree["observables/activity"].values.tolist() == [0, 1 / 7, 2 / 7, 3 / 7, 4 / 7]
        assert set(tree["observables"].data_vars) == {"activity", "coherence"}
        assert tree["coherence"].values.tolist() == [1.0] * 5, "no field has this name: it stands at the root too"


def test_every_attribute_and_every_dtype_goes_into_netcdf_and_back(served, tmp_path):
    """The attributes are those of a real run: a spec with structure, and segments that the engine described."""
    served.writer.start_segment(0, {"rung": 8, "kernel": "fused", "device": None, "compiled": True})
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
                assert back.attrs["seed"] == 0
                assert back.attrs["gamma"] == 0.01
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
        for chunk in (1, 2):  # both have frames of the second shard
            with pytest.raises(Problem) as refusal:
                asked(served, f"psi/c/{chunk}/0/0/0")
            assert refusal.value.status == 503
        check_unreadable(served)
    served.store.put(key, whole[:40] + bytes([whole[40] ^ 1]) + whole[41:])  # only the frame of step 4
    check_unreadable(served)
    served.store.delete([key])
    check_unreadable(served)
    served.store.put(key, whole)
    assert np.array_equal(zarr.open_group(served.url, mode="r")["psi"][7], frame(7)[0]["psi"])


def check_unreadable(served: Writing) -> None:
    psi = zarr.open_group(served.url, mode="r")["psi"]
    for part in (slice(None), 4):
        with pytest.raises(Exception, match="503") as refusal:
            psi[part]
        assert not isinstance(refusal.value, FileNotFoundError), "zarr takes that for an empty chunk"
    assert np.array_equal(psi[2], frame(2)[0]["psi"]), "the chunk before it can be read"


def test_a_partial_shard_can_be_read_while_a_newer_version_takes_its_place(served):
    served.steps(2)
    served.commit()
    before = served.row
    served.steps(1)
    served.commit()
    rows = iter([before, served.row])  # the row was read, then a commit took the object away
    found = chunk_of_psi(zarr_gateway.find(served.store, lambda: next(rows), "psi/c/0/0/0/0").body)
    assert np.array_equal(found[:2], [frame(0)[0]["psi"], frame(1)[0]["psi"]])


def test_what_is_stored_is_a_zarr_shard_of_single_frames_as_ever(served, tmp_path):
    """Results stored by earlier versions are read by this one because nothing changed in the store: its shards are held
    against zarr's own codec."""
    served.steps(8)
    served.commit()
    codecs = [BytesCodec(), BloscCodec(typesize=8, cname="lz4", clevel=5, shuffle="shuffle"), Crc32cCodec()]
    sharding = ShardingCodec(chunk_shape=(1, 4, 6, 3), codecs=codecs, index_codecs=[BytesCodec(), Crc32cCodec()])
    target = tmp_path / "alone"
    zarr.create_array(
        target,
        shape=(8, 4, 6, 3),
        chunks=(4, 4, 6, 3),
        dtype="complex64",
        filters=(),
        compressors=None,
        serializer=sharding,
    )
    for i, key in enumerate(sorted(served.store.list(f"{job_prefix(served.row.id)}psi/"))):
        (target / f"c/{i}/0/0").mkdir(parents=True)
        (target / f"c/{i}/0/0/0").write_bytes(served.store.get(key))
    alone = zarr.open_array(target, mode="r")[:]
    assert np.array_equal(alone, [frame(step)[0]["psi"] for step in range(8)])


def test_frames_that_are_stored_but_not_due_to_be_seen_are_not_seen(served):
    served.steps(5)
    early = served.writer.flush()
    served.steps(2)
    late = served.writer.flush()  # psi has more than the numbers that share its steps
    arrays = late["arrays"] | {"observables": early["arrays"]["observables"]}
    served.row = dataclasses.replace(served.row, manifest=late | {"arrays": arrays})
    with xarray.open_zarr(served.url) as found:
        assert found.sizes["step_1"] == 5
        assert np.isfinite(found["psi"].values).all()
        assert found["step_1"].values.tolist() == [0, 1, 2, 3, 4]
    with xarray.open_zarr(served.url, group="observables") as found:
        assert found.sizes["step_1"] == 5
        assert np.isfinite(found["activity"].values).all()


def test_numbers_fill_their_chunk(served):
    served.steps(3)
    served.commit()
    numbers = np.frombuffer(asked(served, "observables/activity/c/0"), "<f8")
    steps = np.frombuffer(asked(served, "step_2/c/0"), "<i8")
    assert len(numbers) == len(steps) == TABLE_ROWS
    assert numbers[:3].tolist() == [0, 1 / 7, 2 / 7]
    assert np.isnan(numbers[3:]).all()
    assert steps[:2].tolist() == [0, 2]
