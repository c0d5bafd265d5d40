"""The files around the code: workflows, forms, changelog, citation. They agree with the project and with each other."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
import tomllib
from datetime import date
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement

import leym
from tests.support.paths import ROOT

GITHUB = ROOT / ".github"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
PROSE = ("CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md", ".github/PULL_REQUEST_TEMPLATE.md")

EXPECTED_TARGETS = {"docs", "linkcheck"}  # their rules are added on their own
EXPECTED_FILES = {"docs/glossary.md"}
# The only permissions beyond reading, by workflow and job.
WRITES = {
    ("docs", "publish"): {"pages", "id-token"},
    ("release", "publish"): {"id-token"},
    ("release", "announce"): {"contents"},
}


def targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE)) | EXPECTED_TARGETS


def load(path: Path) -> dict[str, Any]:
    found = yaml.safe_load(path.read_text())
    assert isinstance(found, dict), f"{path.name} is no mapping"
    return found


def steps(workflow: dict[str, Any]) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job.get("steps", ())]


def release_notes() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release_notes", ROOT / ".ci" / "release_notes.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_workflows_are_these() -> None:
    assert {path.stem for path in WORKFLOWS} == {"lint", "quick", "full", "docs", "release"}
    assert all(load(path)["name"] == path.stem for path in WORKFLOWS)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_is_bounded_and_may_do_no_more_than_it_must(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert workflow["concurrency"]["group"].startswith(f"{path.stem}-"), "a called workflow must not share its caller's"
    for name, job in workflow["jobs"].items():
        assert "timeout-minutes" in job or "uses" in job, f"{name} may run for hours"
        writes = {key for key, value in job.get("permissions", {}).items() if value != "read"}
        assert writes == WRITES.get((path.stem, name), set()), name
    for step in steps(workflow):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_uses_actions_by_major_version_and_local_ones_that_exist(path: Path) -> None:
    workflow = load(path)
    for used in [item["uses"] for item in (*steps(workflow), *workflow["jobs"].values()) if "uses" in item]:
        if used.startswith("./"):
            assert (ROOT / used).is_file(), used
        else:
            assert re.fullmatch(r"[\w-]+/[\w-]+@(release/)?v\d+", used), used


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda p: p.stem)
def test_a_workflow_calls_only_targets_and_scripts_that_exist(path: Path) -> None:
    commands = [line.strip() for step in steps(load(path)) for line in step.get("run", "").splitlines()]
    for command in commands:
        for target in re.findall(r"\bmake ([a-z-]+)", command):
            assert target in targets(), command
        for script in re.findall(r"(?:^|\s)(\.ci/[\w.]+|deploy/[\w.-]+)", command):
            assert (ROOT / script).is_file(), command
        assert "${{" not in command, f"{command}: an expression in a script is an injection; pass it by an env variable"


def test_the_workflows_run_every_check() -> None:
    runs = {path.stem: [step.get("run") for step in steps(load(path))] for path in WORKFLOWS}
    assert "make lint" in runs["lint"]
    assert "make test-quick" in runs["quick"]
    assert ".ci/run" in runs["full"]
    assert "make coverage" in runs["full"]
    assert "make audit" in runs["full"]
    assert "make docs" in runs["docs"]
    assert "make linkcheck" in runs["docs"]
    assert load(GITHUB / "workflows" / "release.yml")["jobs"]["test"]["uses"] == "./.github/workflows/full.yml"


def test_the_workflows_try_every_supported_python_and_the_oldest_torch() -> None:
    supported = {
        line.rpartition(" ")[2]
        for line in PROJECT["project"]["classifiers"]
        if re.fullmatch(r"Programming Language :: Python :: 3\.\d+", line)
    }
    for name, job in (("quick", "quick"), ("full", "full")):
        found = load(GITHUB / "workflows" / f"{name}.yml")["jobs"][job]["strategy"]["matrix"]["python"]
        assert set(found) == supported, name
    torch = next(
        r for r in map(Requirement, PROJECT["project"]["optional-dependencies"]["worker"]) if r.name == "torch"
    )
    (oldest,) = (found.version for found in torch.specifier if found.operator == ">=")
    assert f'"torch=={oldest}.*"' in (GITHUB / "workflows" / "full.yml").read_text()


@pytest.mark.parametrize("path", FORMS, ids=lambda p: p.stem)
def test_an_issue_form_has_what_github_asks_for(path: Path) -> None:
    form = load(path)
    assert {"name", "description", "body"} <= form.keys()
    assert all(isinstance(form[key], str) and form[key] for key in ("name", "description"))
    inputs = [item for item in form["body"] if item["type"] != "markdown"]
    ids = [item["id"] for item in inputs]
    assert inputs
    assert len(set(ids)) == len(ids)
    assert any(item.get("validations", {}).get("required") for item in inputs)
    for item in form["body"]:
        assert item["type"] in {"markdown", "textarea", "input", "dropdown", "checkboxes"}
        assert item.keys() <= {"type", "id", "attributes", "validations"}
        assert item["attributes"]["value" if item["type"] == "markdown" else "label"]
        if item["type"] in ("dropdown", "checkboxes"):
            assert item["attributes"]["options"]


def test_there_are_forms_for_bugs_features_and_questions() -> None:
    assert {path.stem for path in FORMS} == {"bug", "feature", "question"}
    assert load(GITHUB / "ISSUE_TEMPLATE" / "config.yml")["blank_issues_enabled"] is False


def test_dependabot_watches_every_place_that_pins_something() -> None:
    document = load(GITHUB / "dependabot.yml")
    assert document["version"] == 2
    watched = {(update["package-ecosystem"], update["directory"]) for update in document["updates"]}
    places = {
        ("pip", "/"): "pyproject.toml",
        ("pip", "/tests/clients"): "requirements.txt",
        ("npm", "/tests/clients"): "package-lock.json",
        ("docker", "/deploy"): "api.Dockerfile",
        ("docker-compose", "/"): "docker-compose.yml",
        ("github-actions", "/"): ".github/workflows/lint.yml",
    }
    assert watched == set(places)
    assert all((ROOT / folder.strip("/") / file).is_file() for (_, folder), file in places.items())


def test_pre_commit_runs_the_tools_of_the_environment() -> None:
    document = load(ROOT / ".pre-commit-config.yaml")
    hooks = {hook["id"]: hook for repo in document["repos"] for hook in repo["hooks"]}
    wanted = {"ruff", "ruff-format", "mypy", "check-yaml", "check-toml", "check-added-large-files", "end-of-file-fixer"}
    assert wanted <= hooks.keys()
    local = next(repo["hooks"] for repo in document["repos"] if repo["repo"] == "local")
    for hook in local:
        tool = hook["entry"].split()[0]
        assert tool.startswith(".venv/bin/"), tool
        assert Path(sys.executable).with_name(Path(tool).name).exists(), tool
    for repo in document["repos"]:
        assert repo["repo"] == "local" or re.fullmatch(r"v\d+\.\d+\.\d+", repo["rev"])


def test_the_dev_container_sets_up_as_everybody_does() -> None:
    container = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text())
    assert ":3.11" in container["image"]
    assert container["postCreateCommand"] == "make setup"
    assert (ROOT / container["onCreateCommand"].removeprefix("sudo ")).is_file()


def test_the_changelog_has_a_section_of_this_version_below_an_unreleased_one() -> None:
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    versions = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", heading) for heading in headings[1:]]
    assert all(versions), headings
    released = [(tuple(map(int, found[1].split("."))), date.fromisoformat(found[2])) for found in versions if found]
    assert released == sorted(released, reverse=True)
    assert headings[1].startswith(f"[{leym.__version__}]")
    assert len(release_notes().section(CHANGELOG, leym.__version__)) > 500


def test_the_citation_is_of_this_version() -> None:
    citation = load(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # what the format requires
    assert citation["cff-version"] == "1.2.0"
    assert citation["version"] == leym.__version__
    assert f"## [{leym.__version__}] - {citation['date-released']}\n" in CHANGELOG
    assert citation["license"] == PROJECT["project"]["license"]
    assert [author["name"] for author in citation["authors"]] == [a["name"] for a in PROJECT["project"]["authors"]]
    assert citation["keywords"] == PROJECT["project"]["keywords"]


def test_release_notes_are_the_section_of_the_tag_and_nothing_else() -> None:
    module = release_notes()
    text = "## [Unreleased]\n\nnew\n\n## [1.2.0] - 2030-01-01\n\n### Added\n\n- a\n\n## [1.1.0] - 2029-01-01\n"
    assert module.section(text, "1.2.0") == "### Added\n\n- a"
    assert module.section(text, "1.1.0") is None
    assert module.section(text, "1.2") is None
    assert module.section(text, "1x2.0") is None
    assert module.notes(f"v{leym.__version__}") == module.section(CHANGELOG, leym.__version__)
    for tag in (leym.__version__, "v99.0.0"):
        with pytest.raises(ValueError, match=rf"tag {re.escape(tag)}: .* must be v{re.escape(leym.__version__)}"):
            module.notes(tag)


@pytest.mark.parametrize("name", PROSE)
def test_a_document_for_contributors_names_only_what_exists(name: str) -> None:
    text = (ROOT / name).read_text()
    assert set(re.findall(r"`make ([a-z-]+)", text)) <= targets()
    named = set(re.findall(r"`((?:docs|deploy|\.ci|\.devcontainer)/[\w./-]*|[A-Z_]+\.md|CITATION\.cff)`", text))
    assert [path for path in sorted(named - EXPECTED_FILES) if not (ROOT / path).exists()] == []


def test_the_deprecation_table_is_complete_rows_of_distinct_old_names() -> None:
    text = (ROOT / "docs" / "deprecations.md").read_text()
    table = text.split("## Old names still accepted")[1].split("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", table, re.MULTILINE)
    ]
    head, _, *entries = rows
    assert head == ["what", "old name", "new name", "replaced in", "removed in"]
    assert entries
    assert all(len(row) == len(head) and all(row) for row in entries)
    assert len({(row[0], row[1]) for row in entries}) == len(entries)
    for _, old, new, since, until in entries:
        assert old != new
        assert re.fullmatch(r"\d+\.\d+\.\d+", since)
        assert until == "stays readable" or re.fullmatch(r"\d+\.\d+\.\d+( or later)?", until)
