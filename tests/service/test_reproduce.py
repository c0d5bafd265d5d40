"""Step 8 of a research task: one file is enough to compute a job again on another service, bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile

import pytest

from tests.support.service import Service


def leym(url, *arguments):
    command = [sys.executable, "-m", "leym.cli", "--url", url, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def test_a_forked_and_disturbed_job_is_reproduced_on_a_service_that_knows_nothing_of_it(service, tmp_path):
    parent = service.client.submit(
        "tiny", (16, 16), 40, {"psi": 20}, seed=5, gamma=0.02, interventions=[
            {"kind": "vortex", "step": 10, "y": 8, "x": 8, "radius": 4}, {"kind": "noise", "step": 30, "strength": 0.5},
        ],
    ).wait(240)  # fmt: skip
    job = parent.fork(
        20, steps=60, gamma=0.05, record={"psi": 10, "phase": 20}, observe=10,
        interventions=[{"kind": "noise", "step": 40, "strength": 0.1}],
    ).wait(240)  # fmt: skip
    parent.delete()
    file = tmp_path / "run.zip"
    said = leym(service.url, "export", job.id, "--out", file)
    assert (said.returncode, said.stdout.strip()) == (0, str(file)), said.stderr
    other = Service(tmp_path / "other", "--workers", "1").start()
    try:
        assert "tiny" not in [law["name"] for law in other.client.laws()]
        said = leym(other.url, "reproduce", file, "--json")
        assert said.returncode == 0, said.stderr
        found = json.loads(said.stdout)
        assert found["identical"]
        assert found["original"] == job.id
        assert found["laws"] == [job.law], "the law came with the file"
        arrays = {one["name"]: one["frames"] for one in found["arrays"]}
        assert arrays["psi"] == 4
        assert arrays["phase"] == 2
        assert arrays["activity"] == 4
        broken = tmp_path / "broken.zip"
        with zipfile.ZipFile(file) as whole, zipfile.ZipFile(broken, "w") as changed:
            for name in whole.namelist():
                data = whole.read(name)
                changed.writestr(name, data[:-1] + bytes([data[-1] ^ 1]) if name == "frames/psi.npy" else data)
        said = leym(other.url, "reproduce", broken)
        assert said.returncode == 1, "one changed bit is found"
        assert "psi\t4\tFalse\t60" in said.stdout
    finally:
        assert other.stop() == 0


def test_labels_and_links_from_the_command(service, tmp_path):
    job = service.client.submit("tiny", (16, 16), 4, {"phase": 2}).wait(240)
    said = leym(service.url, "label", job.id, "--name", "spirals", "--star", "--json")
    assert json.loads(said.stdout) == {"id": job.id, "name": "spirals", "note": None, "starred": True, "tags": {}}
    page = leym(service.url, "share", job.id, "--days", "1").stdout.strip()
    assert page.startswith(f"{service.url}/s/")
    [link] = job.links()
    assert link["page"] == page
    assert job.update(note="kept").as_dict()["note"] == "kept"
    said = leym(service.url, "links", job.id, "--revoke", link["id"])
    assert (said.returncode, said.stdout) == (0, "")
    job.export(tmp_path / "run.nc")
    assert (tmp_path / "run.nc").read_bytes().startswith(b"\x89HDF")
    with pytest.raises(ValueError, match="one of zip"):
        job.export(tmp_path / "run.tar")
    assert leym(service.url, "reproduce", tmp_path / "run.nc").returncode == 2
