"""The package as others install and import it: public names, plug-ins, the wheel and its types."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
import textwrap
import tomllib
import venv
import zipfile
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from leym.laws.bundle import MANIFEST, WEIGHTS
from leym.laws.registry import SHIPPED
from tests.support.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PACKAGES = ("leym", "app", "workers")
PUBLIC = ("leym.client", "leym.spec", "leym.laws")
ALIASES = {"leym.spec": {"Initial", "Precision"}}  # of types; they have no docstring of their own
WITHOUT_TYPES = ("app", "workers")  # internal packages: nobody is promised their types


@pytest.mark.parametrize("name", PUBLIC)
def test_public_names_exist_and_are_documented(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    assert len(set(module.__all__)) == len(module.__all__)
    for public in module.__all__:
        found = getattr(module, public)
        if public not in ALIASES.get(name, ()):
            documented = vars(found).get("__doc__") if isinstance(found, type) else found.__doc__
            assert documented, f"{name}.{public} has no docstring"
            assert not documented.startswith(f"{public}("), f"{name}.{public} has only what dataclasses write"


def test_laws_are_imported_without_torch_and_know_no_other_name() -> None:
    code = "import sys, leym.laws; print(sorted({'torch', 'safetensors'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
    laws = importlib.import_module("leym.laws")
    with pytest.raises(AttributeError, match="no attribute 'Missing'"):
        _ = laws.Missing


PLUGGED = """
import json
import torch
from leym.laws import Manifest, architectures, empty_network

manifest = Manifest(name="x", architecture="SHIFT", d_state=2, hidden_channels=3, form="additive")
network = empty_network(manifest).to_empty(device="cpu")
y = network(torch.zeros(5, 4, 8, 8))
print(json.dumps({"known": list(architectures()), "keys": list(network.state_dict()), "shape": list(y.shape)}))
"""


def test_the_documented_example_of_a_package_brings_an_architecture(tmp_path: Path) -> None:
    documentation = importlib.import_module("leym.laws").__doc__ or ""
    example = textwrap.dedent("\n".join(re.findall(r"^(?:    .*)?$", documentation, re.MULTILINE)))
    files = dict(
        re.findall(r"^# (shift_law/\w+\.py)[^\n]*\n(.*?)(?=^# shift_law/|\Z)", example, re.MULTILINE | re.DOTALL)
    )
    entry = re.search(r'^shift = "(.+)"$', example, re.MULTILINE)
    assert entry
    assert set(files) == {"shift_law/__init__.py", "shift_law/network.py"}
    files["shift_law-1.dist-info/METADATA"] = "Metadata-Version: 2.1\nName: shift-law\nVersion: 1\n"
    files["shift_law-1.dist-info/entry_points.txt"] = f"[leym.laws]\nshift = {entry[1]}\n"
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{PLUGGED}"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert "SHIFT" in found["known"]
    assert "UNET" in found["known"]
    assert found["keys"] == ["first.weight", "first.bias", "last.weight", "last.bias"]
    assert found["shape"] == [5, 4, 8, 8]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of the sources, without a network."""
    for name in ("pip", "setuptools"):
        try:  # not `find_spec`: for pip it takes setuptools' distutils away from this process
            version(name)
        except PackageNotFoundError:
            pytest.skip(f"{name} is missing, with which the wheel is built")
    (needed,) = (Requirement(line) for line in PROJECT["build-system"]["requires"])
    if not needed.specifier.contains(version("setuptools")):
        pytest.skip(f"setuptools {version('setuptools')} is too old to build the wheel: {needed} is needed")
    source, built = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in PACKAGES:
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation"]
    run = subprocess.run(
        [*command, "--wheel-dir", str(built), str(source)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    (found,) = built.glob("leym-*.whl")
    return found


def test_the_wheel_holds_every_file_of_its_packages_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    source = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
        if path.suffix != ".mako"  # a template for new migrations, which developers write
    }
    files = [path for path in SHIPPED.resolve().rglob("*") if path.is_file()]
    laws = {f"leym/laws/shipped/{path.relative_to(SHIPPED.resolve())}" for path in files}
    assert {f"leym/laws/shipped/aurora/{name}" for name in (MANIFEST, WEIGHTS)} <= laws
    viewer = {
        f"leym/viewer/{name}" for name in ("widget.js", "widget.css", "static/js/viewer.js", "static/css/viewer.css")
    }
    assert viewer <= held
    assert held == source | laws


def test_the_wheel_claims_types_for_the_library_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        marked = {name for name in archive.namelist() if name.endswith("py.typed")}
    assert marked == {"leym/py.typed"}
    assert not any((ROOT / package / "py.typed").exists() for package in WITHOUT_TYPES)


SCRIPT = """
import asyncio
from typing import assert_type

import numpy as np

from leym.client import AsyncClient, AsyncJob, AsyncSweep, Client, Frame, Job, JobFailed, Sweep, linspace
from leym.spec import Disc, JobSpec, Observe, RandomState, Recording


def grow(client: Client) -> Job:
    spec = JobSpec(
        law="aurora",
        grid=(64, 64),
        steps=100,
        initial=RandomState(),
        record=(Recording(field="phase", every=10),),
        observe=Observe(every=10),
    )
    job = client.submit(spec)
    assert_type(job, Job)
    start = [{"step": 20, "kind": "noise", "strength": 0.3, "region": Disc(y=8, x=8, radius=3)}]
    client.submit("aurora", 32, gamma=[(0, 0.01), (50, 0.1)], initial={"strength": 0.5}, interventions=start)
    client.submit("aurora", steps="many")  # type: ignore[arg-type]
    client.submit("aurora", gama=0.1)  # type: ignore[call-arg]
    client.run("aurora", seed="seven")  # type: ignore[arg-type]
    client.submit("aurora", precision="fp8")  # type: ignore[arg-type]
    job.intervene("vortx")  # type: ignore[arg-type]
    job.fork(50, steps=200, gamma=0.1, keep_states=10).download("phase", "phase.gif", fps=12, scale=4)
    job.download("phase", "phase.gif", speed=3)  # type: ignore[call-arg]
    steps, phase = job.array("phase")
    assert_type(steps, np.ndarray)
    try:
        return job.wait(timeout=240)
    except JobFailed as failed:
        print(failed.problem)
        raise


def explore(client: Client) -> Sweep:
    assert_type(client.sweep("aurora", {"gamma": [0.0, 0.01]}), Sweep)
    client.sweep("aurora", gamma=linspace(0, 0.1, 8), seed=range(8), initial={"strength": [0.1, 1.0]}, steps=500)
    client.sweep(["aurora", "spirals"], grid=[(16, 16), (32, 32)], precision=["nf4", "fp32"], seed=np.arange(3))
    client.sweep("aurora", sed=range(3))  # type: ignore[call-arg]
    sweep = client.sweep("aurora", seed=range(3)).wait(timeout=240)
    sweep.phase_diagram("gamma", "seed", "activity", window=(100, 500))
    sweep.table("rows", agregate="mean")  # type: ignore[call-arg]
    return sweep


async def both(client: AsyncClient) -> None:
    job = await client.submit("aurora", steps=100, record={"phase": 10})
    assert_type(job, AsyncJob)
    assert_type(await client.sweep("aurora", seed=range(3)), AsyncSweep)
    async for frame in job.stream():
        assert_type(frame, Frame)
    async for step, values in job.live("phase", fps=10):
        assert_type(step, int)
    async for found in client.jobs(limit=3):
        assert_type(found, AsyncJob)
    await client.submit("aurora", gama=0.1)  # type: ignore[call-arg]


async def closed() -> str:
    async with AsyncClient("http://127.0.0.1:9") as client:
        return client.url


if __name__ == "__main__":
    with Client("http://127.0.0.1:9") as client:
        assert client.url == asyncio.run(closed())
        print(client.url, Frame.__name__)
"""


def base_distributions() -> set[str]:
    """The distributions that a plain `pip install leym` brings, as they are installed here."""
    waiting = [Requirement(line) for line in distribution("leym").requires or ()]
    waiting = [found for found in waiting if not found.marker or found.marker.evaluate({"extra": ""})]
    names: set[str] = set()
    while waiting:
        requirement = waiting.pop()
        if requirement.name in names:
            continue
        names.add(requirement.name)
        for line in distribution(requirement.name).requires or ():
            further = Requirement(line)
            if not further.marker or any(further.marker.evaluate({"extra": e}) for e in ("", *requirement.extras)):
                waiting.append(further)
    return names


@pytest.fixture(scope="module")
def fresh(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment that has the wheel and links to its base dependencies, and no more."""
    folder = tmp_path_factory.mktemp("fresh")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-index", "--no-deps", str(wheel)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    (site,) = folder.glob("lib/python3.*/site-packages")
    for name in base_distributions():
        found = distribution(name)
        for top in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(found.locate_file(top))))
    return python


def test_the_base_install_has_the_client_and_the_command_and_no_torch(fresh: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    run = subprocess.run([fresh, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (0, "http://127.0.0.1:9 Frame\n"), run.stderr
    code = "import importlib.util as u; print([n for n in ('torch', 'flask', 'celery') if u.find_spec(n)])"
    assert subprocess.run([fresh, "-c", code], cwd=tmp_path, capture_output=True, text=True).stdout == "[]\n"
    code = "from leym.viewer import script, style; print(len(script()) > 10_000, '.timeline' in style())"
    assert subprocess.run([fresh, "-c", code], cwd=tmp_path, capture_output=True, text=True).stdout == "True True\n"
    shown = subprocess.run([fresh.with_name("leym"), "--version"], cwd=tmp_path, capture_output=True, text=True)
    assert shown.stdout.strip() == importlib.import_module("leym").__version__, shown.stderr


def test_the_installed_client_is_typed(fresh: Path, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "mypy", "--strict", "--config-file=", "--python-executable", str(fresh)]
    run = subprocess.run(
        [*command, "--cache-dir", str(tmp_path / "cache"), "script.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
