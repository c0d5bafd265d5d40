"""The command with only the base dependencies works over HTTP, and names the extra that is missing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from leym.common import extras
from tests.support.laws import random_law
from tests.support.paths import ROOT

BLOCKER = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
"""
COMMANDS = {
    "up": "service,worker",
    "up --workers 0": "service",
    "demo": "service,worker",
    "tokens list": "service",
    "gc": "service",
    "doctor": "service",
    "backup folder": "service",
    "laws import {data}/x.pth --name x --data {data}": "service",
    "laws add {data}/law --data {data}": "service",
    "bench aurora": "worker",
    "train recipe.toml": "worker",
    "laws inspect aurora": "worker",
    "laws quantize aurora": "worker",
    "laws tune-precision aurora": "worker",
    "laws calibrate aurora": "worker",
    "laws refine aurora": "worker",
    "fidelity run aurora": "worker",
}


def bare(requirement: str) -> str:
    """Normalise the name of a requirement, for comparisons."""
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=! ;]", requirement)[0]).lower()


def modules_of(*groups: str) -> set[str]:
    """Return the modules of the packages that only these extras of pyproject.toml install."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = {bare(found) for found in project["dependencies"]}
    wanted = {bare(found) for group in groups for found in project["optional-dependencies"][group]} - base
    return {name for name, owners in packages_distributions().items() if wanted & {bare(owner) for owner in owners}}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Variables for a Python that cannot import the packages of the extras."""
    names = modules_of("service", "worker", "data", "tables", "video", "postgres")
    assert {"torch", "sqlalchemy", "celery", "xarray"} <= names
    assert not {"numpy", "pydantic", "typer"} & names
    (tmp_path / "sitecustomize.py").write_text(BLOCKER.format(names=names))
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LEYM_")}
    return kept | {"PYTHONPATH": str(tmp_path), "LEYM_URL": "http://127.0.0.1:9"}


def test_commands_that_need_more_name_the_extra(environment: dict[str, str], tmp_path: Path) -> None:
    random_law(tmp_path / "law", "MLP")
    (tmp_path / "x.pth").write_bytes(b"")
    running = {}
    for command in COMMANDS:
        arguments = command.format(data=tmp_path).split()
        running[command] = subprocess.Popen(
            [sys.executable, "-m", "leym.cli", *arguments],
            env=environment, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
    for command, process in running.items():
        _, said = process.communicate(timeout=240)
        assert process.returncode == 2, (command, said)
        assert "Traceback" not in said, (command, said)
        assert f"pip install 'leym[{COMMANDS[command]}]'" in said, (command, said)


def test_the_base_install_speaks_http(environment: dict[str, str]) -> None:
    for arguments, code, words in (
        (["--help"], 0, "submit"),
        (["laws", "--help"], 0, "import"),
        (["jobs"], 3, "no answer"),
    ):
        command = [sys.executable, "-m", "leym.cli", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
        assert done.returncode == code, done.stderr
        assert words in done.stdout + done.stderr, done.stderr


def test_the_modules_of_an_extra_are_those_of_its_packages() -> None:
    for extra, names in extras.MODULES.items():
        assert set(names) <= modules_of(extra), extra
    assert extras.missing("service", "worker") is None
