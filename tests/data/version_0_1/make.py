"""Make the data folder that `tests/test_old_data.py` opens, with the answers of the version that made it.

    OMP_NUM_THREADS=1 PYTHONPATH=. python tests/data/version_0_1/make.py tests/data/version_0_1

It ran once, at version 0.1.0 (commit 1ae832d3984be4d326c2b58d797cbce689e02edc), in a checkout of that commit with this
file and `old_answers.py` added. It is kept to show where the folder comes from: with later versions it makes another
folder, which proves nothing about old ones.

What it leaves behind:

    data.tar.gz     the data folder: SQLite at schema 0005, store, laws, verdicts, tokens, link key, rungs.json, and the
                    append-only file of the embedded Valkey with the tickets of the jobs that have not ended
    expected.json   ids by role, and what the API answered when the folder was packed

The tokens in it open nothing but this folder.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from leym.engine.ladder import Ladder
from leym.laws.network import load_weights
from leym.precision.fidelity.verdicts import read_verdict, write_verdict
from tests.laws import random_law, write_law

from app.links import sign
from leym.client import Client, Job
from leym.engine.device import pick_device
from leym.laws.bundle import Bundle
from leym.laws.registry import registry_of
from leym.settings import Settings
from tests.conftest import Service, until
from tests.support.old_answers import Asker, digest, paths_of

GRID = (8, 8)
RUNG = 2  # slots per batch of `tiny` by rungs.json; without the file it would be 4
MTIME = 1_767_225_600  # of every file in the archive: 2026-01-01
FOR_EVER = 7_258_118_400  # of the shared link: 2200-01-01
LOCKS = {"lock", "jobs.sqlite-next", "jobs.sqlite-writes"}
NOT_PACKED = LOCKS | {"up.log", "cache", "valkey/valkey.conf", "valkey/valkey.log"}
SETTINGS = {"LEYM_CHECKPOINT_S": "0.2", "LEYM_GC_S": "1", "OMP_NUM_THREADS": "1"}

EVERY_FIELD = [
    {"field": "psi", "every": 5},
    {"field": "phase", "every": 2, "dtype": "float16"},
    {"field": "channel_power", "every": 10, "dtype": "float32"},
    {"field": "channel_entropy", "every": 4, "dtype": "float16"},
    {"field": "coherence", "every": 2},
    {"field": "activity", "every": 5, "dtype": "float16"},
    {"field": "density", "every": 20, "dtype": "float32"},
]
JOB: dict[str, Any] = {"law": "tiny", "grid": list(GRID), "steps": 20, "precision": "fp32", "tags": {"set": "small"}}
PSI = [{"field": "psi", "every": 10}]
SMALL: dict[str, dict[str, Any]] = {
    "everything": {
        "seed": 7, "gamma": 0.02, "record": EVERY_FIELD, "observe": {"every": 2}, "priority": 7,
        "tags": {"set": "small", "of": "everything"}, "initial": {"kind": "complex_noise", "strength": 0.5},
    },
    "nf4": {"precision": "nf4", "seed": 1, "record": PSI, "observe": {"every": 5}},
    "int8": {"precision": "int8", "seed": 1, "record": PSI, "initial": {"kind": "random"}},
    "bf16": {"precision": "bf16", "seed": 1, "record": [{"field": "phase", "every": 5}]},
    "auto": {"law": "plain", "precision": "auto", "record": PSI},
    "memory": {"law": "remembers", "steps": 40, "seed": 2, "record": PSI, "observe": {"every": 10}},
    "draws": {"law": "draws", "seed": 3, "record": PSI},
    "imported": {"law": "imported", "record": PSI},
    "observed": {"observe": {"every": 1, "names": ["fidelity", "coherence_sd", "activity"]}, "seed": 4},
    "zeros": {"initial": {"kind": "zeros"}, "record": PSI},
    "failed": {"law": "wild", "seed": 9, "record": [{"field": "psi", "every": 1}]},
    "overdue": {"deadline_s": 0.001},
    "expired": {"ttl_s": 1, "record": PSI},
}  # fmt: skip
LONG: dict[str, Any] = JOB | {"record": [{"field": "psi", "every": 100}], "observe": {"every": 100}, "tags": {}}
UNFINISHED: dict[str, dict[str, Any]] = {
    "running": LONG | {"steps": 2000, "seed": 11},
    "running_memory": LONG | {"law": "remembers", "steps": 1200, "seed": 12},
    "queued": LONG | {"steps": 200, "seed": 13},
    "queued_draws": LONG | {"law": "draws", "steps": 200, "seed": 14},
}
SHOWN_WHOLE = {"everything", "failed", "expired", "lab"}  # with events and Zarr metadata
SWEEP = {
    "base": JOB | {"observe": {"every": 10}, "record": PSI, "tags": {"set": "sweep"}},
    "axes": {"gamma": [0.0, 0.01, 0.05], "initial.strength": [0.1, 0.2, 0.4]},
    "mode": "zip",
}


def main(target: Path) -> None:
    assert torch.get_num_threads() == 1, "OMP_NUM_THREADS=1, as the workers have"
    with tempfile.TemporaryDirectory() as work:
        data = Path(work) / "data"
        _prepare(data, Path(work) / "made")
        expected = _run(data, Path(work))
        _close(data, expected)
        target.mkdir(parents=True, exist_ok=True)
        (target / "data.tar.gz").write_bytes(_packed(data))
        (target / "expected.json").write_text(_lines(expected) + "\n")


def _prepare(data: Path, made: Path) -> None:
    """Put laws into the folder by hand, and what was measured of one of them."""
    laws = {
        "tiny": _stronger(random_law(made / "drawn" / "tiny", "UNET", c=2, seed=4), made / "tiny", 2),
        "remembers": _stronger(random_law(made / "drawn" / "m", "UNET_CONVLSTM", c=2, seed=2), made / "remembers", 8),
        "draws": random_law(made / "draws", "NCA", options={"update_rate": 0.5, "padding": "periodic"}),
        "wild": _stronger(random_law(made / "drawn" / "wild", "MLP", seed=3), made / "wild", 1e38),
    }
    for name, law in laws.items():
        shutil.copytree(law.path, data / "laws" / name)
    Ladder(pick_device(), data / "rungs.json").keep(laws["tiny"].manifest, "fp32", GRID, RUNG)


def _stronger(law: Bundle, folder: Path, factor: float) -> Bundle:
    """The law with its head multiplied, under the name of the folder: alive, or beyond all bounds."""
    weights = {key: value.numpy() for key, value in load_weights(law).items()}
    head = f"{law.manifest.kind.head.rstrip('.')}.weight"
    weights[head] = weights[head] * np.float32(factor)
    said = law.manifest.model_dump(include={"architecture", "d_state", "hidden_channels", "form", "options"})
    return write_law(folder, weights, **said)


def _run(data: Path, work: Path) -> dict[str, Any]:
    """Everything that happens while workers run, up to the power cut."""
    service = Service(data, "--no-flower", **SETTINGS).start()
    client, ask = service.client, Asker(service.url)
    expected: dict[str, Any] = {"computed_by": pick_device().kind, "jobs": {}, "whole": {}}
    jobs: dict[str, str] = expected["jobs"]

    first = random_law(work / "made" / "plain", "MLP", seed=1)
    client.add_law(first.path)
    jobs["old_law"] = ask.json("/v1/jobs", JOB | {"law": "plain", "record": PSI})["id"]
    client.job(jobs["old_law"]).wait(60)
    client.add_law(random_law(work / "made" / "again" / "plain", "MLP", seed=2).path)
    state = load_weights(random_law(work / "made" / "checkpoint", "DEEP_QCA"))
    torch.save({"model_state_dict": dict(state), "episode": 3}, work / "checkpoint.pth")
    client.import_law(work / "checkpoint.pth", "imported", architecture="DEEP_QCA", d_state=2, hidden_channels=4)

    for role, precision in (("judged", "bf16"), ("judged_nf4", "nf4")):
        jobs[role] = client.judge("plain", precision, grid=list(GRID), members=8).id
        client.job(jobs[role]).wait(300)
    _pass(data, "plain", "int8")
    _pass(data, "tiny", "bf16", beside=False)

    for role, spec in SMALL.items():
        body = JOB | spec
        jobs[role] = ask.json("/v1/jobs", body, Idempotency_Key=f"key of {role}")["id"]
    expected["idempotent"] = {"key": "key of everything", "body": JOB | SMALL["everything"], "job": jobs["everything"]}
    for role in SMALL:
        until(lambda role=role: client.job(jobs[role]).done, what=role)
    jobs["fork"] = _fork(ask, jobs["everything"], 10, {"steps": 10, "record": PSI})
    jobs["goes_on"] = _fork(ask, jobs["memory"], 40, {"law": "remembers", "steps": 20, "record": PSI})
    draw = np.random.default_rng(5).standard_normal((2, *GRID, 2)).astype(np.float32)
    expected["state"] = client.upload_state(draw[0] + 1j * draw[1])
    upload = {"kind": "upload", "id": expected["state"]}
    jobs["uploaded"] = ask.json("/v1/jobs", JOB | {"initial": upload, "record": PSI})["id"]
    expected["sweep"] = ask.json("/v1/sweeps", SWEEP)["id"]
    jobs["deleted"] = ask.json("/v1/jobs", JOB | {"record": PSI})["id"]
    jobs["cancelled"] = ask.json("/v1/jobs", LONG | {"steps": 10**6, "record": [{"field": "psi", "every": 1000}]})["id"]
    until(lambda: client.job(jobs["cancelled"]).step >= 2000, what="progress")
    client.job(jobs["cancelled"]).cancel()
    for role in ("fork", "goes_on", "uploaded", "deleted"):
        client.job(jobs[role]).wait(60)
    client.job(jobs["deleted"]).delete()
    client.get_sweep(expected["sweep"]).wait(60)
    until(lambda: ask.ask(f"/v1/jobs/{jobs['expired']}/frames")[0] == 410, what="its results expire")
    ask.json(f"/v1/jobs/{jobs['everything']}/links", {"ttl_s": 60})  # makes the link key
    link = sign(Settings(data=data), jobs["everything"], "default", FOR_EVER)
    expected["link"] = f"/v1/shared/{link}"

    for role, spec in UNFINISHED.items():  # what they must become, from runs that nobody interrupts
        whole = client.job(ask.json("/v1/jobs", spec)["id"]).wait(120)
        expected["whole"][role] = _whole(whole)
        whole.delete()

    expected["tokens"] = {
        "default": _token(data, "everybody", "--scopes", "submit", "read", "cancel", "laws", "admin"),
        "lab": _token(data, "ada", "--project", "lab"),
        "reader": _token(data, "reads", "--scopes", "read"),
        "revoked": _token(data, "gone", "--project", "lab"),
    }  # fmt: skip
    _leym(data, "tokens", "revoke", expected["tokens"]["revoked"])
    with Client(service.url, token=expected["tokens"]["lab"]) as lab:
        lab.add_law(random_law(work / "made" / "theirs", "MLP", seed=4).path)
        jobs["lab"] = lab.submit("theirs", GRID, 20, {"psi": 5}, precision="fp32", seed=1).wait(60).id

    with Client(service.url, token=expected["tokens"]["default"]) as mine:
        ask = Asker(service.url, expected["tokens"]["default"])
        for role in ("running", "running_memory"):
            jobs[role] = ask.json("/v1/jobs", UNFINISHED[role])["id"]
        for role in ("running", "running_memory"):
            until(lambda role=role: mine.job(jobs[role]).step >= 300, what=role)
    _cut_the_power(service)
    return expected


def _pass(data: Path, name: str, precision: str, *, beside: bool = True) -> None:
    """Write a passing verdict, made of the one that `plain` got. Laws as small as these seldom pass by themselves."""
    registry = registry_of("default", data)
    verdict = read_verdict(registry.resolve("plain"), "bf16", data=data)
    assert verdict is not None
    law = registry.resolve(name)
    said = {"name": law.name, "digest": law.digest}
    made = replace(verdict, verdict="pass", reasons=[], precision=precision, law=verdict.law | said)
    write_verdict(law, made, data=data, beside=beside)


def _close(data: Path, expected: dict[str, Any]) -> None:
    """A service without workers takes in one more job, and says what it knows. The dead worker's leases outlast it."""
    service = Service(data, "--no-flower", "--workers", "0", **SETTINGS, LEYM_LEASE_S="3600").start()
    asks = {name: Asker(service.url, token) for name, token in expected["tokens"].items()}
    jobs = expected["jobs"]
    for role in ("queued", "queued_draws"):
        jobs[role] = asks["default"].json("/v1/jobs", UNFINISHED[role])["id"]
    unfinished = expected["unfinished"] = {}
    for role in UNFINISHED:
        unfinished[role] = asks["default"].json(f"/v1/jobs/{jobs[role]}")
    assert [unfinished[role]["state"] for role in UNFINISHED] == ["running", "running", "queued", "queued"]

    answers: dict[str, dict[str, Any]] = {}
    for role, job in jobs.items():
        if role not in UNFINISHED:
            name = "lab" if role == "lab" else "default"
            for path in _paths(asks[name], job, whole=role in SHOWN_WHOLE):
                answers.setdefault(name, {})[path] = asks[name].answer(path)
    sweep = f"/v1/sweeps/{expected['sweep']}"
    for path in (
        *(sweep, f"{sweep}/jobs", f"{sweep}/table", f"{sweep}/table?format=csv", "/v1/sweeps"),
        *("/v1/jobs?tag=of:everything", "/v1/jobs?state=failed", "/v1/jobs?state=cancelled"),
        *(f"/v1/laws/{name}" for name in ("tiny", "remembers", "draws", "wild", "plain", "imported")),
        *("/v1/laws/plain/fidelity", "/v1/laws/plain/fidelity/bf16"),
    ):
        answers["default"][path] = asks["default"].answer(path)
    answers["lab"]["/v1/laws/theirs"] = asks["lab"].answer("/v1/laws/theirs")
    answers["nobody"] = {
        path: Asker(service.url).answer(path)
        for path in (f"{expected['link']}/frames/phase?format=npz", f"{expected['link']}/store.zarr/phase/zarr.json")
    }
    expected["answers"] = answers
    assert service.stop() == 0, service.tail()
    with closing(sqlite3.connect(data / "jobs.sqlite")) as table:
        table.execute("DELETE FROM leym_workers")
        table.commit()
        table.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        table.execute("VACUUM")
        table.execute("PRAGMA journal_mode = DELETE")


def _paths(ask: Asker, job: str, whole: bool) -> Iterator[str]:
    _, _, content = ask.ask(f"/v1/jobs/{job}")
    spec = json.loads(content).get("spec", {})
    fields = [r["field"] for r in spec.get("record", ())]
    yield from paths_of(job, fields, observed=bool(spec.get("observe")), whole=whole)


def _fork(ask: Asker, job: str, step: int, further: dict[str, Any]) -> str:
    """Gamma and precision are those of the job."""
    kept = {key: value for key, value in JOB.items() if key != "precision"}
    made: str = ask.json("/v1/jobs", kept | further | {"initial": {"kind": "state", "job": job, "step": step}})["id"]
    return made


def _whole(job: Job) -> dict[str, Any]:
    return {
        "frames": [digest(frame)[2] for frame in job.array("psi")[1]],
        "observables": {name: digest(values) for name, values in job.series().items()},
        "segments": job.segments,
    }


def _token(data: Path, *arguments: str) -> str:
    return _leym(data, "tokens", "create", *arguments).strip()


def _leym(data: Path, *arguments: str) -> str:
    env = {k: v for k, v in os.environ.items() if not k.startswith("LEYM_")} | {"LEYM_DATA": str(data)}
    command = [sys.executable, "-m", "leym.cli", *arguments]
    return subprocess.run(command, env=env, check=True, capture_output=True, text=True).stdout


def _cut_the_power(service: Service) -> None:
    """Nobody saves anything: the supervisor is stopped first, so that its children are not asked to end."""
    service.process.send_signal(signal.SIGSTOP)
    for pid in reversed(_below(service.process.pid)):
        os.kill(pid, signal.SIGKILL)
    service.process.kill()
    service.process.wait()
    time.sleep(0.5)
    service.client.close()
    service.table.close()


def _below(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        parents.setdefault(parent, []).append(int(stat.parent.name))
    found, left = [], [pid]
    while left:
        children = parents.get(left.pop(), [])
        found += children
        left += children
    return found


def _lines(value: Any, depth: int = 3) -> str:
    """JSON in which every value of the upper levels has a line of its own, e.g. every answer."""
    if depth == 0 or not isinstance(value, dict):
        return json.dumps(value, sort_keys=True, allow_nan=False)
    return "{\n" + ",\n".join(f"{json.dumps(k)}: {_lines(v, depth - 1)}" for k, v in sorted(value.items())) + "\n}"


def _packed(data: Path) -> bytes:
    """The folder as tar.gz: sorted, with one time for all files and without users."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(data.rglob("*")):
            name = path.relative_to(data).as_posix()
            if any(name == left or name.startswith(f"{left}/") for left in NOT_PACKED) or path.is_socket():
                continue
            info = archive.gettarinfo(path, name)
            info.mtime, info.uid, info.gid, info.uname, info.gname = MTIME, 0, 0, "", ""
            with path.open("rb") if path.is_file() else io.BytesIO() as content:
                archive.addfile(info, content)
    return gzip.compress(file.getvalue(), 9, mtime=0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
