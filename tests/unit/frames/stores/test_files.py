"""Stores of files and in memory keep whole objects and nothing outside themselves."""

from __future__ import annotations

import threading

import pytest

from leym.contract.problems import Problem
from leym.frames.stores.base import Missing
from leym.frames.stores.open import open_store


@pytest.mark.parametrize("url", ["file", "memory"])
def test_a_store_keeps_whole_objects_and_nothing_outside_itself(url, tmp_path):
    store = open_store((tmp_path / "store").as_uri() if url == "file" else "memory://")
    store.put("a/b", b"12345")
    assert (store.get("a/b"), store.get_range("a/b", 1, 3), store.head("a/b")) == (b"12345", b"234", 5)
    assert [store.get_range("a/b", *span) for span in ((3, 9), (5, 1), (9, 2), (0, 0))] == [b"45", b"", b"", b""]
    assert store.head("a/c") is None
    with pytest.raises(Missing):
        store.get("a/c")
    store.put("a/b", b"12", b"3", b"")  # in parts
    assert store.get("a/b") == b"123"
    store.delete(["a/b", "a/c"])
    assert list(store.list("a/")) == []
    for key in (
        "../x",
        "/etc/passwd",
        "a/../../x",
        "a//b",
        "",
        ".hidden",
        "a/.hidden",
        "a\0b",
        "a" * 201,
        "a/" * 260 + "a",
    ):
        with pytest.raises(Problem, match="object key"):
            store.put(key, b"")


def test_nobody_sees_half_an_object_of_a_file_store(tmp_path):
    store = open_store(tmp_path.as_uri())
    versions = [bytes([i]) * 200_000 for i in range(50)]
    store.put("x/y", versions[0])
    stop, torn = threading.Event(), []

    def read():
        while not stop.is_set():
            found = store.get("x/y")
            if len(set(found)) != 1 or len(found) != 200_000:
                torn.append(found)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for version in versions:
        store.put("x/y", version)
    stop.set()
    for reader in readers:
        reader.join()
    assert not torn
    assert [p.name for p in (tmp_path / "x").iterdir()] == ["y"]
