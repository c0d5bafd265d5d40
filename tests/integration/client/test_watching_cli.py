"""Commands that show who works and what there is, completion in the shell, exit codes, and what `--help` imports."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

from leym.cli.main import app
from leym.contract.catalog import FIELDS, OBSERVABLES
from tests.support.api import Api, Pretender, done, reachable
from tests.support.command import leym_here
from tests.support.paths import ROOT

DOCUMENT = (ROOT / "docs" / "command-line.md").read_text()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with reachable(tmp_path) as found:
        yield found


def said(api: Api, *arguments: str) -> str:
    found = leym_here("--url", api.url, *arguments)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_fields_of_a_job_and_all_fields(api: Api) -> None:
    job = done(api)
    assert [row["name"] for row in json.loads(said(api, "fields", job, "--json"))] == ["phase", "channel_power", "psi"]
    assert said(api, "fields", job).splitlines()[0].split("\t")[:3] == ["phase", "float32", "11x8x12"]
    every = json.loads(said(api, "fields", "--json"))
    assert (every["fields"].keys(), every["observables"].keys()) == (FIELDS.keys(), OBSERVABLES.keys())


def test_workers_queue_and_top_look_once_where_stdout_is_no_terminal(api: Api) -> None:
    running = api.submit()
    worker = Pretender(api, running)
    worker.run(10)
    worker.commit()
    waiting = api.submit()
    assert said(api, "workers", "--json").strip() == "[]"
    queue = json.loads(said(api, "queue", "--json"))
    assert (queue["states"]["running"], queue["states"]["queued"]) == (1, 1)
    assert "running\t1" in said(api, "queue")
    assert {job["id"] for job in json.loads(said(api, "top", "--json"))["jobs"]} == {running, waiting}
    shown = said(api, "top")
    assert running in shown
    assert "10/30" in shown
    assert "0 workers" in shown


def test_open_prints_the_page_of_a_job_a_sweep_and_a_law(api: Api) -> None:
    job = done(api)
    sweep = api.http.post(
        "/v1/sweeps", json={"base": {"law": "aurora", "grid": [8, 8], "steps": 10}, "axes": {"seed": [1]}}
    )
    assert said(api, "open", job).strip() == f"{api.url}/#/jobs/{job}"
    assert said(api, "open", sweep.json["id"]).strip() == f"{api.url}/#/sweeps/{sweep.json['id']}"
    assert json.loads(said(api, "open", "aurora", "--json")) == {"url": f"{api.url}/#/laws/aurora"}
    assert leym_here("--url", api.url, "open", "0" * 26).returncode == 2
    assert leym_here("--url", api.url, "open", "unknown-law").returncode == 2


def test_compare_says_where_two_jobs_differ(api: Api) -> None:
    one, other = done(api), done(api, seed=3)
    found = leym_here("--url", api.url, "compare", one, other)
    assert found.returncode == 0
    assert "seed: 0 and 3" in found.stderr
    heading, *rows = found.stdout.splitlines()
    assert heading == "step\tmean\tlargest\tcells"
    assert rows[0].split("\t") == ["0", "0.0", "0.0", "0.0"]
    assert len(rows) == 11
    assert json.loads(said(api, "compare", one, other, "--json"))["differs"] == {"seed": [0, 3]}


def complete(words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """What a shell gets that asks for completions of a command line."""
    program = "from leym.cli.main import app; app(prog_name='leym')"
    asked = {"_LEYM_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    command = [sys.executable, "-c", program]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("LEYM_")}
    return subprocess.run(command, env=kept | asked | environment, capture_output=True, text=True, check=False)


def test_the_shell_completes_ids_and_laws(api: Api) -> None:
    job = done(api)
    assert complete("leym show ", LEYM_URL=api.url).stdout.split() == [job]
    assert complete(f"leym --url {api.url} extend {job[:3]}").stdout.split() == [job]
    assert complete("leym submit auro", LEYM_URL=api.url).stdout.split() == ["aurora"]
    assert {job, "aurora"} <= set(complete("leym open ", LEYM_URL=api.url).stdout.split())


def test_a_service_that_is_down_or_strange_completes_nothing_and_says_nothing() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        for url in (f"http://127.0.0.1:{unused.getsockname()[1]}", "not a url", "http://127.0.0.1:1/?x"):
            found = complete("leym show ", LEYM_URL=url)
            assert (found.stdout.strip(), found.stderr) == ("", ""), url


@pytest.mark.parametrize("words", [["--help"], ["laws", "--help"], ["sweep", "--help"]])
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    """Counted in modules, since times depend on the machine: 728 before imports became lazy."""
    program = (
        "import sys\nfrom leym.cli.main import app\n"
        f"try:\n    app({words})\nfinally:\n    print(len(sys.modules), *{{m.partition('.')[0] for m in sys.modules}})"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    count, *names = found.splitlines()[-1].split()
    assert not set(names) & {"numpy", "httpx2", "websockets", "xarray", "matplotlib", "torch", "PIL"}
    if words == ["--help"]:  # with further words, Typer itself imports pydantic
        assert "pydantic" not in names
        assert int(count) < 450


def commands(group: typer.core.TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, typer.core.TyperCommand]]:
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


OF_THIS_MACHINE = {"up", "demo"}


def test_every_command_has_json_and_is_documented() -> None:
    root = typer.main.get_command(app)
    assert isinstance(root, typer.core.TyperGroup)
    for name, command in commands(root):
        lazy = not command.params and not command.callback
        options = [option for parameter in command.params for option in parameter.opts]
        assert "--json" in options or lazy or name in OF_THIS_MACHINE, name
        first = name.split()[0]
        assert re.search(rf"`leym {re.escape(first)}\b", DOCUMENT), f"leym {first} is not in docs/command-line.md"


def test_the_exit_codes_are_those_of_the_page(api: Api) -> None:
    """One command for each code of the table."""
    table = dict(re.findall(r"^\| (\d+) \| (.+?) \|$", DOCUMENT, re.MULTILINE))
    assert set(table) == {"0", "1", "2", "3", "130"}
    failed = api.submit()
    worker = Pretender(api, failed)
    worker.run(5)
    worker.finish("failed", error={"title": "Diverged", "detail": "a cell is NaN", "status": 422})
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{unused.getsockname()[1]}"
        seen = {
            0: leym_here("--url", api.url, "show", failed),
            1: leym_here("--url", api.url, "watch", failed),
            2: leym_here("--url", api.url, "show", "0" * 26),
            3: leym_here("--url", nobody, "workers"),
        }
    for code, found in seen.items():
        assert found.returncode == code, (code, found.stderr)
