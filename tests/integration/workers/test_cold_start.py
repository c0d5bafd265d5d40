"""The start of a worker: it finds compiled code of its kind, and compiles the buckets of its first jobs."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
from concurrent.futures import Future
from pathlib import Path

import pytest

from leym.contract.problems import Problem
from leym.engine.engine import Engine
from leym.frames.stores.open import open_store
from leym.jobs.table import JobTable
from leym.laws.registry import Registry
from leym.settings import Settings
from tests.support.job_tables import submit
from tests.support.laws import random_law
from workers.compile_cache import CompileCache, machine_kind
from workers.readiness import IN_USE_LIMIT, buckets_in_use, make_ready

COMPILE = """
import json, sys
from pathlib import Path
from torch._dynamo.utils import counters
from leym.engine.engine import Engine
from leym.laws.bundle import read_bundle
engine = Engine(2)
engine.warm(read_bundle(Path(sys.argv[1])), "nf4", (16, 16))
[bucket] = engine.buckets.values()
print(json.dumps({"kernel": bucket.law.kernel, "degraded": engine.law_cache.degraded} | counters["inductor"]))
"""


def compile_in(cache: Path, law: Path, **environment: str) -> dict:
    """Compile a bucket in another process with this cache, and return that process's report."""
    env = os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(cache)} | environment
    command = [sys.executable, "-c", COMPILE, str(law)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_one_machine_compiled_another_does_not_compile(tmp_path):
    calls = tmp_path / "calls"
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ here")
    (tmp_path / "bin").mkdir()
    shim = tmp_path / "bin" / "g++"  # logs compilations, but no queries
    shim.write_text(f"""#!/bin/sh\ncase "$*" in *.cpp*) echo "$*" >> {calls};; esac\nexec {compiler} "$@"\n""")
    shim.chmod(0o755)
    path = f"{shim.parent}{os.pathsep}{os.environ['PATH']}"
    law = random_law(tmp_path / "law", "UNET", c=4)
    here, there = tmp_path / "here", tmp_path / "there" / "cache"
    store = open_store((tmp_path / "store").as_uri())
    found = compile_in(here, law.path, PATH=path)
    assert found["kernel"] == "inductor"
    assert found["fxgraph_cache_miss"] == 1
    assert calls.read_text(), "the shim sees compilations"
    calls.write_text("")
    assert CompileCache(store, here, "kind").upload()
    assert CompileCache(store, there, "kind").download() > 3
    found = compile_in(there, law.path, PATH=path)
    assert found["kernel"] == "inductor"
    assert not found["degraded"]
    assert found["fxgraph_cache_hit"] == 1
    assert "fxgraph_cache_miss" not in found
    assert not calls.read_text()


@pytest.fixture
def store(tmp_path):
    return open_store((tmp_path / "store").as_uri())


def a_folder(path: Path, **files: str) -> Path:
    for name, text in files.items():
        (path / name[:2]).mkdir(parents=True, exist_ok=True)
        (path / name[:2] / name).write_text(text)
    return path


def texts(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_workers_of_a_kind_share_their_compiled_files_in_one_object(store, tmp_path):
    a, b, c = (CompileCache(store, tmp_path / name, "kind") for name in "abc")
    other = CompileCache(store, tmp_path / "other", "another-kind")
    a_folder(a.folder, one="1")
    a_folder(b.folder, two="2", **{"half.tmp": "written now"})
    assert a.upload()
    assert b.upload()
    assert not a.upload(), "the files of a are stored already"
    assert c.download() == 2
    assert texts(c.folder) == {"one": "1", "two": "2"}
    assert not c.upload()
    assert other.download() == 0
    a_folder(c.folder, three="3")
    assert c.upload()
    assert len(list(store.list("compiled/"))) == 1
    assert a.download() == 2
    assert texts(a.folder) == {"one": "1", "two": "2", "three": "3"}


def test_an_existing_file_is_not_overwritten(store, tmp_path):
    CompileCache(store, a_folder(tmp_path / "a", one="theirs"), "kind").upload()
    mine = CompileCache(store, a_folder(tmp_path / "b", one="mine"), "kind")
    assert mine.download() == 0
    assert texts(mine.folder) == {"one": "mine"}


def an_archive(name: str, data: bytes = b"x") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@pytest.mark.parametrize("broken", ["changed", "cut", "escapes"])
def test_an_archive_that_is_damaged_or_escapes_its_folder_is_not_unpacked(broken, store, tmp_path, caplog):
    data = an_archive("../../escaped" if broken == "escapes" else "file")
    cut = data[: len(data) // 2]
    name = hashlib.sha256(cut if broken == "cut" else data).hexdigest()
    stored = {"changed": data[:-9] + bytes(9), "cut": cut, "escapes": data}[broken]
    store.put(f"compiled/kind/{name}.tar.gz", stored)
    here = CompileCache(store, tmp_path / "deep" / "er" / "cache", "kind")
    assert here.download() == 0
    assert not [path for path in tmp_path.rglob("*") if path.name in ("escaped", "file")]
    assert "compiled/kind/" in caplog.text


def test_the_kind_of_a_machine_depends_on_its_device_and_is_stable():
    assert machine_kind("cpu; 2 threads") == machine_kind("cpu; 2 threads") != machine_kind("cpu; 4 threads")


@pytest.fixture
def table(tmp_path):
    table = JobTable(f"sqlite:///{tmp_path}/jobs.sqlite")
    yield table
    table.close()


@pytest.fixture
def laws(tmp_path):
    for i, name in enumerate(("alpha", "beta")):
        random_law(tmp_path / "laws" / name, "MLP", seed=i)
    return Registry(tmp_path / "laws")


def test_the_buckets_with_most_waiting_jobs_are_in_use_or_else_those_of_the_newest_jobs(table, laws):
    alpha, beta = (laws.resolve(name).ref for name in ("alpha", "beta"))
    assert buckets_in_use(table, laws) == []
    wanted = [(alpha, (16, 16), 1), (beta, (16, 16), 3), (beta, (32, 16), 2), ("gone@" + "0" * 64, (8, 8), 9)]
    jobs = [submit(table, law=law, grid=grid) for law, grid, n in wanted for _ in range(n)]
    found = [(bundle.ref, precision, grid) for bundle, precision, grid in buckets_in_use(table, laws)]
    assert found == [(beta, "fp32", (16, 16)), (beta, "fp32", (32, 16))], f"of {IN_USE_LIMIT}, one cannot be had"
    for job in jobs:
        table.cancel(job)
    newest = [(bundle.ref, grid) for bundle, _, grid in buckets_in_use(table, laws)]
    assert newest == [(beta, (32, 16)), (beta, (16, 16))]


def test_a_worker_is_ready_though_a_bucket_in_use_takes_long_or_breaks(table, laws, monkeypatch, caplog):
    monkeypatch.setattr("workers.readiness.IN_USE_S", 0.05)
    for name in ("alpha", "beta"):
        submit(table, law=laws.resolve(name).ref, grid=(16, 16))
    engine, broken = Engine(2, compile=False), Future()
    broken.set_exception(OSError("no such weights"))
    futures = iter([Future(), broken])
    monkeypatch.setattr(engine._loader, "bucket", lambda *_: next(futures))
    caplog.set_level("INFO", "leym")
    caplog.set_level("INFO", "workers")
    engine.start()
    try:
        make_ready(engine, Settings(), table, laws, None)
        assert "is still compiled while other jobs are served" in caplog.text
        assert "no such weights" in caplog.text
        with pytest.raises(Problem, match="LEYM_WARM"):
            make_ready(engine, Settings(warm="nosuch/fp32/8x8"), table, laws, None)
    finally:
        engine.stop()
