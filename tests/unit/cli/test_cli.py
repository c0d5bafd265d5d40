"""The `leym` command: short forms, exit codes, help, and modules that it must not import."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.requests import parse_json_object
from leym.cli import specs
from leym.cli.variadic import repeat_options
from leym.contract.limits import LIMITS
from leym.contract.problems import Problem
from tests.support.command import leym, leym_here


@pytest.mark.parametrize(("text", "expected"), [("64", (64, 64)), ("64x128", (64, 128)), ("8,16", (8, 16))])
def test_grid(text: str, expected: tuple[int, int]) -> None:
    assert specs.grid(text) == expected


@pytest.mark.parametrize("text", ["", "x", "64x", "64x64x3", "-4"])
def test_no_grid(text: str) -> None:
    with pytest.raises(ValueError, match="--grid"):
        specs.grid(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, None),
        ("10", {"every": 10}),
        ("activity,coherence", {"names": ["activity", "coherence"]}),
        ("5:activity", {"every": 5, "names": ["activity"]}),
    ],
)
def test_observe(text: str | None, expected: Any) -> None:
    assert specs.observe(text) == expected


def test_recordings() -> None:
    assert specs.recordings(["phase", "psi:5", "phase:10:float16"]) == [
        "phase",
        {"field": "psi", "every": 5},
        {"field": "phase", "every": 10, "dtype": "float16"},
    ]


def test_axes() -> None:
    found = specs.axes(["seed=0..3", "gamma=0,0.5", "precision=nf4,fp32", "grid=[[8,8],[16,16]]"])
    assert found == {
        "seed": range(4),
        "gamma": [0, 0.5],
        "precision": ["nf4", "fp32"],
        "grid": [[8, 8], [16, 16]],
    }


@pytest.mark.parametrize("text", [f"0..{LIMITS.sweep_jobs}", "5..4", "0..1" + "0" * 25])
def test_an_axis_has_as_many_values_as_a_sweep_may_have(text: str) -> None:
    with pytest.raises(ValueError, match=f"seed={re.escape(text)}: .* values; 1 to {LIMITS.sweep_jobs} are allowed"):
        specs.axes([f"seed={text}"])
    assert specs.axes(["seed=9007199254740993..9007199254750992"]) == {"seed": range(2**53 + 1, 2**53 + 10001)}


def test_axes_in_short_forms() -> None:
    assert specs.axes(
        ["gamma=linspace(0, 0.05, 20)", "precision=choice(nf4,fp32)", "initial.strength=uniform(0,1)"]
    ) == {
        "gamma": {"linspace": [0, 0.05, 20]},
        "precision": {"choice": ["nf4", "fp32"]},
        "initial.strength": {"uniform": [0, 1]},
    }
    with pytest.raises(ValueError, match=r"gamma=linspce\(0,1,2\): write linspace, logspace"):
        specs.axes(["gamma=linspce(0,1,2)"])


def test_sampled_modes() -> None:
    assert specs.sample("latin_hypercube:1000") == {"sample": "latin_hypercube", "count": 1000, "seed": 0}
    assert specs.sample("random:5:7") == {"sample": "random", "count": 5, "seed": 7}
    with pytest.raises(ValueError, match="write random:COUNT"):
        specs.sample("sobol:5")


def test_stop_rules() -> None:
    assert specs.stop_rules(["frozen", "cycle:3", "activity<0.01", "coherence>1e-3:2"]) == [
        {"when": "frozen"},
        {"when": "cycle", "for": 3},
        {"observable": "activity", "below": 0.01},
        {"observable": "coherence", "above": 1e-3, "for": 2},
    ]
    for wrong in ("activity=1", "activity<x:1", "frozen:x"):
        with pytest.raises(ValueError, match=r"--stop|convert"):
            specs.stop_rules([wrong])


@pytest.mark.parametrize("arguments", [["submit"], ["jobs", "--limit", "0"], ["nonsense"], ["sweep", "run", "aurora"]])
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    assert leym_here(*arguments).returncode == 2


def test_a_short_form_that_makes_no_sense_exits_2_and_says_what_to_write() -> None:
    done = leym_here("submit", "aurora", "--grid", "64x")
    assert done.returncode == 2
    assert "64x128" in done.stderr


def test_no_service_exits_3() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        done = leym("jobs", "--json", LEYM_URL=f"http://127.0.0.1:{unused.getsockname()[1]}")
    assert done.returncode == 3
    assert json.loads(done.stderr)["title"] == "Service unreachable"
    assert done.stdout == ""


def test_the_command_and_the_sdk_load_no_server_part() -> None:
    probe = "import sys, leym.cli, leym.client; print(' '.join(m.partition('.')[0] for m in sys.modules))"
    loaded = set(subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True).stdout.split())
    assert "leym" in loaded
    assert not loaded & {"torch", "sqlalchemy", "celery", "flask", "redis", "xarray", "zarr", "matplotlib"}


@pytest.mark.parametrize("arguments", ["--help", "laws --help", "fidelity -h", "laws add --help"])
def test_help_of_groups_loads_no_server_part(arguments: str) -> None:
    probe = (
        "import sys\nfrom leym.cli.main import app\n"
        f"try:\n    app({arguments.split()})\nfinally:\n    print(*{{m.partition('.')[0] for m in sys.modules}})"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Usage:" in done.stdout
    assert not set(done.stdout.splitlines()[-1].split()) & {"torch", "sqlalchemy", "celery", "workers"}


@pytest.mark.slow
def test_help_lists_the_commands_of_this_machine_and_each_has_a_help_of_its_own() -> None:
    listed = leym_here("--help").stdout
    names = ("up", "tokens", "gc", "doctor", "backup", "bench", "demo")
    for name in names:
        assert re.search(rf"^│ {name} +[A-Z]", listed, re.MULTILINE), listed
    for words in [[name] for name in names] + [["laws", "inspect"], ["fidelity", "run"], ["tokens", "create"]]:
        done = leym_here(*words, "--help")
        assert done.returncode == 0, done.stderr
        assert " ".join(words) in done.stdout.partition("[OPTIONS]")[0]


@pytest.mark.parametrize("way", ["python -m leym.cli", "leym"])
def test_a_folder_named_workers_where_the_user_is_is_not_ours(way: str, tmp_path: Path) -> None:
    other = tmp_path / "workers" / "maintenance"
    other.mkdir(parents=True)
    for folder in (other, other.parent):
        (folder / "__init__.py").write_text("raise SystemExit('a stranger was imported')")
    script = [str(Path(sys.executable).with_name("leym"))]
    command = script if way == "leym" else [sys.executable, *way.split()[1:]]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("LEYM_")}
    environment |= {"LEYM_DATA": str(tmp_path / "data")}
    done = subprocess.run([*command, "doctor"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert "jobs.sqlite: there is no such file" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        ("x --set a b --json", "x --set a --set b --json"),
        ("--set a --set b c -x d", "--set a --set b --set c -x d"),
        ("--set=a b --other c d", "--set=a b --other c d"),
        ("--set --json", "--set --json"),
    ],
)
def test_a_list_option_takes_all_values_that_follow(given: str, parsed: str) -> None:
    assert repeat_options(given.split(), {"--set"}) == parsed.split()


ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_spec_file_is_taken_in_every_encoding_that_rest_takes(encoding: str, tmp_path: Path) -> None:
    spec = {"law": "aurora", "steps": 10, "tags": {"who": "Ψ 😀"}}
    file = tmp_path / "spec.json"
    file.write_bytes(json.dumps(spec, ensure_ascii=False).encode(encoding))
    assert specs.read_document(str(file)) == parse_json_object(file.read_bytes()) == spec
    # by the command, also from stdin: with a law missing in the file it gets as far as asking for one
    file.write_bytes(json.dumps({"tags": {"who": "Ψ"}}, ensure_ascii=False).encode(encoding))
    assert specs.read_document(str(file)) == {"tags": {"who": "Ψ"}}


def test_a_spec_from_stdin_may_begin_with_a_byte_order_mark() -> None:
    command = [sys.executable, "-m", "leym.cli", "submit", "--spec", "-"]
    data = json.dumps({"steps": 10}).encode("utf-8-sig")
    done = subprocess.run(command, input=data, capture_output=True, timeout=240)
    assert done.returncode == 2, done.stderr
    assert b"name a law" in done.stderr, done.stderr


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"gamma": NaN}', b'{"steps": 1, "steps": 2}', b"[" * 100_000, b"\xff\xfe{\x00"]
)
def test_a_spec_file_that_rest_would_not_take_is_refused_by_name(data: bytes, tmp_path: Path) -> None:
    file = tmp_path / "spec.json"
    file.write_bytes(data)
    with pytest.raises(ValueError, match=r"spec\.json"):
        specs.read_document(str(file))
    with pytest.raises(Problem):
        parse_json_object(data)


def test_gamma_is_a_number_or_a_schedule():
    assert specs.gamma("0.02") == 0.02
    assert specs.gamma("0:0.01,500:0.05") == [[0, 0.01], [500, 0.05]]
    assert specs.gamma_text([[0, 0.01], [500, 0.05]]) == "0:0.01,500:0.05"
    with pytest.raises(ValueError, match="STEP:VALUE"):
        specs.gamma("0:x")


def test_keys_of_an_intervention_are_json_or_text():
    found = specs.change_keys(["y=3", "vector=[[1,0]]", "to=drawn", "state=" + "1e5" + "0" * 61])
    assert found == {"y": 3, "vector": [[1, 0]], "to": "drawn", "state": "1e5" + "0" * 61}
    for wrong in ("y", "kind=vortex", "step=3", "=3"):
        with pytest.raises(ValueError, match="KEY=VALUE"):
            specs.change_keys([wrong])
