"""The project as a whole: who imports whom, and whether its configuration and documents are true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

from leym.settings import Settings
from tests.support.paths import ROOT

README = (ROOT / "README.md").read_text()
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())

TORCH_FREE = (
    "app leym.common leym.contract leym.settings leym.spec leym.client leym.reports leym.jobs leym.frames"
    " leym.events leym.tickets leym.laws.bundle leym.laws.registry leym.laws.versions leym.laws.verdicts"
    " leym.laws.importing.convert"
)

# Imports every module at or under the packages named in argv[2:], then prints which of argv[1] were loaded by that.
# Triton may be missing: CPU builds of torch do not bring it, and a module of its kernels cannot be imported then.
LOADED = """
import importlib, pkgutil, sys
for name in sys.argv[2:]:
    package = importlib.import_module(name)
    for found in pkgutil.walk_packages(getattr(package, "__path__", ()), name + "."):
        if "leym.cli.local" in found.name or found.name.endswith(("__main__", "migrations.env")):
            continue  # commands of this machine are imported when they are called; Alembic alone runs its env
        elif "leym.client.notebook" in found.name:
            continue  # it is imported when it is used
        else:
            try:
                importlib.import_module(found.name)
            except ModuleNotFoundError as error:
                if error.name != "triton":
                    raise
print(*sorted(set(sys.argv[1].split()) & set(sys.modules)))
"""


def loaded(unwanted: str, packages: str, data: Path) -> list[str]:
    """Which of the `unwanted` modules a fresh Python holds after importing `packages` whole."""
    run = subprocess.run(
        [sys.executable, "-c", LOADED, unwanted, *packages.split()],
        env={**os.environ, "LEYM_DATA": str(data)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


def test_the_import_rules_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def test_the_api_loads_no_torch(tmp_path: Path) -> None:
    assert loaded("torch bitsandbytes scipy", TORCH_FREE, tmp_path) == []


def test_the_sdk_and_the_command_line_load_only_http(tmp_path: Path) -> None:
    unwanted = "torch bitsandbytes scipy sqlalchemy celery kombu flask redis numcodecs obstore"
    assert loaded(unwanted, "leym.client leym.cli", tmp_path) == []


def test_the_engine_loads_no_broker_and_no_database(tmp_path: Path) -> None:
    unwanted = "celery kombu sqlalchemy flask obstore"  # torch looks for redis itself
    assert loaded(unwanted, "leym.engine leym.physics leym.quantization", tmp_path) == []


def requirements() -> list[Requirement]:
    extras: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]
    lines = PROJECT["project"]["dependencies"] + [line for extra in extras.values() for line in extra]
    return [r for r in map(Requirement, lines) if r.name != "leym"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    found = {}
    for line in lines:
        if not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line)
            assert match, f"constraints.txt: {line!r} is no exact pin without a local tag"
            found[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
    return found


@pytest.mark.parametrize("requirement", requirements(), ids=lambda r: r.name)
def test_every_dependency_is_pinned_inside_its_range(requirement: Requirement) -> None:
    assert requirement.specifier.contains(pins()[re.sub(r"[-_.]+", "-", requirement.name).lower()])


def test_procfile_and_compose_name_the_same_services() -> None:
    lines = [line for line in (ROOT / "Procfile").read_text().splitlines() if line and not line.startswith("#")]
    names = {re.fullmatch(r"([a-z]+): (\S.*)", line)[1] for line in lines}  # type: ignore[index]
    assert names == set(COMPOSE["services"])


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_container_ends_well_and_shows_its_health(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["init"]
    assert service["cap_drop"] == ["ALL"]
    assert "stop_grace_period" in service
    assert "healthcheck" in service
    for port in service.get("ports", []):
        assert port.startswith(("127.0.0.1:", "${LEYM_BIND:-127.0.0.1}:")), f"{port} is open to everyone by default"
    for file in [service["build"]["dockerfile"]] if "build" in service else []:
        text = (ROOT / file).read_text()
        assert re.search(r"^USER leym$", text, re.MULTILINE), f"{file} runs as root"
        for source in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE):
            for path in source.split():
                assert (ROOT / path).exists(), f"{file} copies {path}"


def test_compose_sets_only_settings_that_exist() -> None:
    known = {f"LEYM_{name.upper()}" for name in Settings.model_fields}
    for service in ("api", "worker", "flower"):
        set_here = {key for key in COMPOSE["services"][service]["environment"] if key.startswith("LEYM_")}
        assert set_here <= known


def test_ci_runs_the_packages_script_and_make_test_and_installs_nothing_else() -> None:
    lines = (ROOT / ".ci" / "run").read_text().splitlines()
    commands = [line.strip() for line in lines if re.match(r"\s*(make|deploy/|.*\b(pip|apt-get|npm) )", line)]
    assert [re.split(r" \|\| | && ", command)[0] for command in commands if not command.startswith(("#", "if "))] == [
        "deploy/debian-packages.sh",
        "make test",
    ]


@pytest.mark.parametrize("script", [".ci/run", "deploy/debian-packages.sh", "deploy/valkey.sh"])
def test_a_script_parses_and_can_be_run(script: str) -> None:
    path = ROOT / script
    assert os.access(path, os.X_OK)
    shell = path.read_text().splitlines()[0].removeprefix("#!").split()[-1].rsplit("/", 1)[-1]
    subprocess.run([shell, "-n", str(path)], check=True)


def test_the_readme_opens_with_the_two_commands_and_names_only_targets_that_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = re.findall(r"\bmake ([a-z-]+)", README)
    assert named[:2] == ["demo", "test"]
    assert set(named) <= targets
    assert {"setup", "demo", "test", "up", "bench"} <= targets


def test_the_readme_names_only_files_that_exist() -> None:
    named = re.findall(r"`((?:docs|deploy|examples)/[\w./-]*|[A-Z]+\.md|docker-compose\.yml)`", README)
    for path in [path for path in named if not path.startswith("docs/_build")]:  # `make docs` makes that
        assert (ROOT / path).exists(), path


def test_the_pages_list_every_setting_and_its_default() -> None:
    """A row states the earlier name of a setting too, where that is still read."""
    page = (ROOT / "docs" / "settings.md").read_text()
    rows = re.findall(r"^\| `LEYM_(\w+)` \| `?(.*?)`? \| (.*) \|$", page, re.MULTILINE)
    shown, earlier = {}, set()
    for name, default, meaning in rows:
        assert name.lower() not in shown, name
        shown[name.lower()] = default
        earlier |= {each.lower() for each in re.findall(r"earlier name: `LEYM_(\w+)`", meaning)}
    assert not earlier & set(shown)
    assert set(shown) | earlier == set(Settings.model_fields)
    for name in shown:
        default = Settings.model_fields[name].default
        spelt = (
            str(int(default))
            if isinstance(default, bool)
            else f"{default:g}"
            if isinstance(default, float)
            else default
        )
        assert shown[name] == (str(spelt) or "empty"), name


def test_the_pages_list_every_route_of_the_api_and_no_other(tmp_path: Path) -> None:
    from app import create_app

    rules = list(create_app(Settings(data=tmp_path)).url_map.iter_rules())
    there = {(method, shape(rule.rule)) for rule in rules for method in rule.methods or ()} - {("OPTIONS", "")}
    named = {
        (method if method != "WS" else "GET", shape(path))
        for cell in re.findall(r"^\| (`.*?`) \|", (ROOT / "docs" / "rest.md").read_text(), re.MULTILINE)
        for method, path in re.findall(r"`(?:([A-Z]+) )?(/[^`?]*)[^`]*`", cell.replace("WS  ", "WS "))
        for method in [method or "GET"]
    }
    assert named <= there, f"not in the API: {sorted(named - there)}"
    ours = {(m, p) for m, p in there if p.startswith("/v1/") and m not in ("HEAD", "OPTIONS")}
    assert ours <= named, f"not in docs/rest.md: {sorted(ours - named)}"


def shape(path: str) -> str:
    """A route with its variable parts alike: /v1/jobs/{id} and /v1/jobs/<string:job_id> are /v1/jobs/*."""
    return re.sub(r"<[^>]*>|\{[^}]*\}|…", "*", path)
