"""Files and a real S3 server: one interface, and jobs whose writers crash, are superseded, or come back as zombies."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby

import numpy as np
import obstore
import pytest
from obstore.store import from_url

from leym.frames.checkpoint import get_checkpoint, put_checkpoint, stale_checkpoints
from leym.frames.layout import job_prefix
from leym.frames.reader import FrameReader
from leym.frames.stores.base import Missing, StoreUnavailable
from leym.frames.stores.open import open_store
from leym.frames.writer import FrameWriter
from tests.support.frames import Writing, append_one, frame

MIB = 2**20


def test_a_store_keeps_whole_objects_and_tells_what_it_has(store_url):
    store = open_store(store_url)
    store.put("a/b", b"12345")
    assert (store.get("a/b"), store.get_range("a/b", 1, 3), store.head("a/b")) == (b"12345", b"234", 5)
    assert [store.get_range("a/b", *span) for span in ((3, 9), (5, 1), (9, 2), (0, 0))] == [b"45", b"", b"", b""]
    store.put("a/b", b"123")
    store.put("a/c/d", b"")
    store.put("ab", b"beside")
    assert sorted(store.list("a/")) == ["a/b", "a/c/d"]
    assert {entry.key: entry.size for entry in store.scan("a/")} == {"a/b": 3, "a/c/d": 0}
    assert store.head("a/x") is None
    assert list(store.list("x/")) == []
    for read in (store.get, lambda key: store.get_range(key, 0, 1)):
        with pytest.raises(Missing):
            read("a/x")
    store.delete(["a/b", "a/x"])
    assert list(store.list("a/")) == ["a/c/d"]
    assert store.delete_prefix("a/") == 1
    assert store.get("ab") == b"beside"


def test_a_bucket_on_this_machine_is_reached_past_a_proxy(s3, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "proxy.example")
    store = open_store(s3.url())
    store.put("a", b"1")
    assert store.get("a") == b"1"
    assert os.environ["no_proxy"] == "proxy.example,localhost,127.0.0.1,::1"


def test_a_listing_has_every_object_and_when_it_came(store_url):
    store = open_store(store_url)
    names = [f"many/{i % 7}/{i:04d}" for i in range(1100)]  # more than S3 tells, or deletes, at once
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: store.put(key, key.encode()), names))
    found = list(store.scan("many/"))
    assert sorted(entry.key for entry in found) == sorted(names)
    folders = [entry.key.split("/")[1] for entry in found]
    assert len(list(groupby(folders))) == 7, "one folder after the other"
    times = {entry.key: entry.modified for entry in found}
    store.put(names[0], b"again")
    [again] = [entry for entry in store.scan("many/0/") if entry.key == names[0]]
    assert again.modified >= times[names[0]]
    assert again.modified > 1.7e9
    store.delete(names[1:])
    assert list(store.list("many/")) == names[:1]


def test_a_large_object_goes_up_in_parts_and_comes_back_whole_and_in_ranges(s3):
    url = s3.url()
    store, data = open_store(url), os.urandom(23 * MIB + 5)
    store.put("large", data)
    assert obstore.head(from_url(url), "large")["e_tag"].strip('"').endswith("-5")  # what S3 says of five parts
    assert store.head("large") == len(data)
    assert store.get("large") == data
    for start, length in ((0, 4), (5 * MIB - 2, 4), (20 * MIB - 1, 3 * MIB), (len(data) - 3, 9)):
        assert store.get_range("large", start, length) == data[start : start + length]


def test_s3_wants_the_right_key(s3, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    store = open_store(s3.url())
    with pytest.raises(StoreUnavailable):
        store.put("a", b"1")


def test_frames_and_checkpoints_live_in_every_store(store_url):
    store = open_store(store_url)
    job = Writing(store)
    for n in (3, 40, 1100):  # partly filled shards again and again, and whole ones
        job.steps(n)
        job.commit()
    assert job.check(FrameReader(store, job.row)) == 1143
    psi = np.arange(24, dtype=np.complex64).reshape(4, 6, 1)
    old = put_checkpoint(store, job.row.id, 1, 10, {"psi": psi})
    new = put_checkpoint(store, job.row.id, 1, 20, {"psi": psi})
    assert stale_checkpoints(store, job.row.id, new) == [old["key"]]
    assert get_checkpoint(store, new)["psi"].tobytes() == psi.tobytes()


def test_a_zombie_writes_beside_its_successor_and_never_over_it(store_url):
    store = open_store(store_url)
    job = Writing(store)
    job.steps(30)
    job.commit()
    zombie, job.checkpoint = job.writer, 9
    job.crash()  # another worker goes on from step 9, while the first one is only slow
    job.steps(40)
    job.commit()
    kept = {key: store.get(key) for key in store.list(job_prefix(job.row.id))}
    for step in range(30, 60):
        fields, numbers = frame(step)
        append_one(zombie, step, {name: field * 2 for name, field in fields.items()}, numbers)
    zombie.flush()  # its commit will be refused
    assert {key: store.get(key) for key in kept} == kept
    assert len(set(store.list(job_prefix(job.row.id)))) > len(kept), "the zombie did write"
    assert job.check(FrameReader(store, job.row)) == 50


def test_a_resumed_writer_reads_back_what_another_one_stored(store_url):
    store = open_store(store_url)
    job = Writing(store)
    job.steps(700)
    job.commit()
    again = FrameWriter(store, job.row.id, 2, job.arrays, job.row.manifest)
    again.rewind([0], 650)
    job.writer, job.at, job.epoch = again, 650, 2
    job.steps(10)
    job.commit()
    assert job.check(FrameReader(store, job.row)) == 700, "what readers saw stays until it is caught up with"
    job.steps(100)
    job.commit()
    assert job.check(FrameReader(store, job.row)) == 761
