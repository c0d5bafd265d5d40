"""Step 8 of a research task: one file is enough to compute a job again on another service, bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.support.service import Service
from tests.support.tab import tab


def leym(url, *arguments):
    command = [sys.executable, "-m", "leym.cli", "--url", url, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another service, which has the laws of the zoo only."""
    started = Service(tmp_path_factory.mktemp("other"), "--workers", "1").start()
    yield started
    assert started.stop() == 0


def test_a_forked_and_disturbed_job_is_reproduced_on_a_service_that_knows_nothing_of_it(service, other, tmp_path):
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


@pytest.mark.browser
def test_the_page_of_another_service_reproduces_a_file(service, other, tmp_path):
    """A law from an uploaded state, extended: the file carries law, state and the job before."""
    start = np.exp(1j * np.random.default_rng(4).normal(size=(16, 16, service.client.law("mlp")["d_state"])))
    initial = {"kind": "upload", "id": service.client.upload_state(start)}
    parent = service.client.submit("mlp", (16, 16), 30, {"psi": 10}, seed=2**53 + 1, initial=initial).wait(240)
    job = parent.extend(60, record={"psi": 10, "phase": 20}, observe=10).wait(240)
    file = tmp_path / "run.zip"
    job.export(file)
    packed, broken = tmp_path / "packed.zip", tmp_path / "broken.zip"
    with (
        zipfile.ZipFile(file) as whole,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as smaller,
        zipfile.ZipFile(broken, "w") as changed,
    ):
        for name in whole.namelist():
            data = whole.read(name)
            smaller.writestr(name, data)
            changed.writestr(name, data[:-1] + bytes([data[-1] ^ 1]) if name == "frames/psi.npy" else data)
    with tab(tmp_path / "browser") as page:
        page.open(f"{other.url}/#/reproduce")
        page.has("Reproduce a file")
        assert page.audit() == []
        page.choose_file("input[type=file]", file)
        page.has("Every bit is the same", "The law came with the file", job.id)
        rows = page.evaluate("[...document.querySelectorAll('tbody tr')].map((row) => row.innerText.split('\t'))")
        assert ["psi", "field", "3", "identical"] in rows
        assert ["phase", "field", "2", "identical"] in rows
        assert {row[3] for row in rows} == {"identical"}
        assert {"activity", "coherence"} < {name for name, kind, *_ in rows if kind == "observable"}
        assert page.audit() == []
        page.choose_file("input[type=file]", broken)
        page.has("There are differences", "differs from step 60 on")
        page.choose_file("input[type=file]", packed)
        page.has("Every bit is the same")
        page.choose_file("input[type=file]", Path(__file__))
        page.has("this is not a complete zip file")
        assert page.errors == []
    made = list(other.client.jobs(tag=f"reproduces={job.id}"))
    assert len(made) == 3
    assert all(one.spec["seed"] == 2**53 + 1 for one in made)


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
