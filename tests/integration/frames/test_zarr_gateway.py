"""The Zarr gateway, read by the real array libraries over real HTTP.

`test_http_conditions.py` has ranges, tags and caches, `test_readers.py` the requests of other libraries.
"""

from __future__ import annotations

import dataclasses
import json
import threading

import numpy as np
import pytest
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ShardingCodec

from leym.contract.problems import Problem
from leym.frames import zarr_gateway
from leym.frames.layout import job_prefix
from leym.frames.shards import decode_frame
from leym.frames.stores.open import open_store
from tests.support.frames import IN_CHUNK, PSI_BYTES, Writing, asked, frame


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
