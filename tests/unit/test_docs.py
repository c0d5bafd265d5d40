"""The documentation: the site builds without warnings, its links lead somewhere, its lists are those of the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from app.models.results import HistogramQuery
from leym.contract.catalog import FIELDS, OBSERVABLES, VIEWS
from leym.spec import JobSpec, SweepSpec
from tests.support.paths import ROOT

DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(path for path in DOCS.rglob("*.md") if "_build" not in path.parts)]
TERM = re.compile(r"^(\w.*)\n(?=  \S)", re.MULTILINE)

VOCABULARY = {
    "law", "universe", "job", "member", "block", "step", "slot", "bucket", "batch size", "burst", "frame", "observable",
    "recording", "ticket", "lease", "epoch", "checkpoint", "sweep", "bundle", "verdict", "overlap", "fork",
    "intervention", "lineage", "cell-step", "outbox", "reaper", "resident law", "batch tensors", "fetch limit",
    "claimed job", "recording sink", "coherence", "pair coherence", "roofline", "commit", "shard", "manifest",
}  # fmt: skip


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    """A page without its code blocks, but with the text of its directives."""
    return re.sub(r"^```(?!\{).*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)


def rows(page: str) -> list[list[str]]:
    """The cells of every row of every table of a page."""
    lines = (DOCS / page).read_text().splitlines()
    return [re.split(r"(?<!\\)\|", line.strip("|")) for line in lines if line.startswith("|")]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-n", "-q", "-b", "html", "-d", folder / "trees"]
    run = subprocess.run([*command, DOCS, folder / "html"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return folder / "html"


@pytest.mark.slow
def test_the_site_builds_without_warnings_and_its_links_lead_somewhere(site: Path) -> None:
    command = [sys.executable, DOCS / "check_links.py", site]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
def test_a_dead_link_of_the_site_is_found(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text(
        '<a href="#here" id="here"><a href="#gone"><a href="gone.html"><img src="x.png">'
    )
    run = subprocess.run(
        [sys.executable, DOCS / "check_links.py", tmp_path], capture_output=True, text=True, check=False
    )
    assert run.returncode == 1
    assert run.stdout.splitlines() == ["index.html: #gone", "index.html: gone.html", "index.html: x.png"]


@pytest.mark.slow
def test_the_site_loads_nothing_from_other_sites(site: Path) -> None:
    loads = re.compile(
        r"<(?:script|img|iframe)[^>]*\ssrc=\"(https?:)?//|<link[^>]*rel=\"stylesheet\"[^>]*href=\"(https?:)?//"
    )
    assert [path.name for path in site.rglob("*.html") if loads.search(path.read_text())] == []


@pytest.mark.slow
def test_the_readme_is_short_and_its_links_lead_somewhere(site: Path) -> None:
    readme = (ROOT / "README.md").read_text()
    assert len(readme.splitlines()) < 120
    links = re.findall(r"\]\((?!https?:)([^)\s]+)\)", readme)
    assert links
    for link in links:
        path, _, anchor = unquote(link).partition("#")
        assert (ROOT / path).is_file(), link
        if anchor:
            page = (site / path).relative_to(site / "docs").with_suffix(".html")
            assert f'id="{anchor}"' in (site / page).read_text(), link


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_names_only_files_that_exist(page: Path) -> None:
    text = prose(page)
    for path in re.findall(r"`((?:docs|deploy|examples|benchmarks)/[\w./-]*\w)`", text):
        assert (ROOT / path).exists() or path.startswith("docs/_build/"), path  # `make docs` builds it
    for name in re.findall(r"\btest_\w+\.py\b", text):
        assert list((ROOT / "tests").rglob(name)), name
    for script in re.findall(r"\bmake ([a-z]+)`", text):
        assert re.search(rf"^{script}:", (ROOT / "Makefile").read_text(), re.MULTILINE), script


def test_each_term_of_the_vocabulary_is_defined_once() -> None:
    terms = TERM.findall((DOCS / "glossary.md").read_text())
    assert len(terms) == len(set(terms)), "a term is defined twice"
    assert set(terms) >= VOCABULARY, sorted(VOCABULARY - set(terms))


def test_the_pages_list_every_key_of_a_job_and_of_a_sweep() -> None:
    tables = [*rows("jobs.md"), *rows("sweeps.md")]
    named = {name for cells in tables for name in re.findall(r"^ `(\w+)` $", cells[0])}
    assert set(JobSpec.model_fields) | set(SweepSpec.model_fields) <= named


def test_the_pages_list_every_field_and_observable_and_no_other() -> None:
    """A row may state an earlier name, under which older code and results have it."""
    listed = []
    for cells in rows("fields.md"):
        if names := re.findall(r"`(\w+)`", cells[0]):
            earlier = re.findall(r"earlier name: `(\w+)`", cells[-1])
            listed += [{name, *earlier} for name in names]
    known = set(FIELDS) | set(OBSERVABLES) | set(VIEWS)
    assert all(names & known or names <= set(HistogramQuery.model_fields) for names in listed)
    assert known <= set().union(*listed)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_page_names_only_modules_that_exist(page: Path) -> None:
    for path in re.findall(r"`((?:leym|app|workers)/[\w./-]*\w/?)`", prose(page)):
        assert (ROOT / path).exists(), path


def test_a_diagram_names_only_modules_that_exist() -> None:
    for diagram in DOCS.glob("images/way-of-*.svg"):
        named = re.findall(r"[\w/]+\.py\b|\b(?:leym|app|workers)/[\w/]*/(?=<)", diagram.read_text())
        assert named
        for path in named:
            assert (ROOT / path).exists() or (ROOT / "leym" / "engine" / path).exists(), (diagram.name, path)
