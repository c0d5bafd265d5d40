"""Settings are judged when a process starts, in one line that names the variable; files they name become absolute."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from limits import parse_many
from sqlalchemy import make_url

from leym.jobs.table import JobTable
from leym.settings import Settings, SettingsError, read_settings
from tests.support.paths import ROOT

HIDDEN = "h1ddenW0rd"

WRONG = [
    ("LEYM_RATE", "nonsense"),
    ("LEYM_RATE", "0/second"),
    ("LEYM_RATE", "5/fortnight"),
    ("LEYM_SLOTS", "many"),
    ("LEYM_SLOTS", "0"),
    ("LEYM_LEASE_S", "inf"),
    ("LEYM_COMPILE", "perhaps"),
    ("LEYM_QUEUE", "a b"),
    ("LEYM_WARM", "aurora"),
    ("LEYM_WARM", "aurora/nf4/64"),
    ("LEYM_URL", "127.0.0.1:8000"),
    ("LEYM_URL", "http://127.0.0.1:port"),
    ("LEYM_URL", "ftp://host"),
    ("LEYM_AUTOSCALE", "3:1"),
    ("LEYM_REDIS_URL", f"http://:{HIDDEN}@127.0.0.1/0"),
    ("LEYM_REDIS_URL", f"redis://:{HIDDEN}@127.0.0.1:port/0"),
    ("LEYM_REDIS_URL", f"redis://:{HIDDEN}@127.0.0.1:6379/name"),
    ("LEYM_REDIS_URL", f"redis://:{HIDDEN}@[::1/0"),
    ("LEYM_DATABASE_URL", f"mysql://leym:{HIDDEN}@127.0.0.1/x"),
    ("LEYM_DATABASE_URL", f"postgresql://leym:{HIDDEN}@127.0.0.1:port/x"),
    ("LEYM_DATABASE_URL", f"postgresql:/leym:{HIDDEN}@127.0.0.1/x"),
    ("LEYM_DATABASE_URL", "sqlite://relative.sqlite"),
    ("LEYM_DATABASE_URL", "sqlite:///"),
    ("LEYM_DATABASE_URL", "sqlite:///:memory:"),
    ("LEYM_DATABASE_URL", "sqlite:///q?x=1/jobs.sqlite"),
    ("LEYM_DATABASE_URL", "jobs.sqlite"),
    ("LEYM_STORE_URL", "store"),
    ("LEYM_STORE_URL", "file://data/store"),
    ("LEYM_STORE_URL", "file:///data/q?x=1"),
    ("LEYM_STORE_URL", f"ftp://leym:{HIDDEN}@host/store"),
    ("LEYM_STORE_URL", "s3:///prefix"),
    ("LEYM_TOKEN", f"{HIDDEN}ü"),
    ("LEYM_TOKEN", f"{HIDDEN}\nX-Other: 1"),
]


@pytest.fixture(autouse=True)
def without_settings(monkeypatch):
    for name in [name for name in os.environ if name.startswith("LEYM_")]:
        monkeypatch.delenv(name)


@pytest.mark.parametrize(("variable", "value"), WRONG)
def test_a_wrong_setting_is_refused_in_one_line_that_names_it_and_shows_no_secret(variable, value, monkeypatch):
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as refused:
        read_settings()
    line = str(refused.value)
    assert line.startswith(variable)
    assert line.count("LEYM_") == (2 if "LEYM_DATA may" in line else 1)
    assert "\n" not in line
    assert HIDDEN not in line
    if variable not in ("LEYM_TOKEN", "LEYM_REDIS_URL", "LEYM_DATABASE_URL", "LEYM_STORE_URL"):
        assert repr(value) in line


def test_every_wrong_setting_is_named_at_once(monkeypatch):
    monkeypatch.setenv("LEYM_SLOTS", "x")
    monkeypatch.setenv("LEYM_RATE", "y")
    with pytest.raises(SettingsError, match=r"^LEYM_SLOTS = 'x': .*; LEYM_RATE = 'y': "):
        read_settings()


def test_an_empty_variable_is_an_unset_one(monkeypatch):
    untouched = read_settings()
    for name in Settings.model_fields:
        monkeypatch.setenv(f"LEYM_{name.upper()}", "")
    assert read_settings() == untouched


@pytest.mark.parametrize("text", ["100/second;5000/hour", "3 per minute", "1/2 days, 5/year", "7/MONTH|9/seconds"])
def test_a_rate_that_is_taken_is_one_to_the_limiter(text, monkeypatch):
    monkeypatch.setenv("LEYM_RATE", text)
    assert parse_many(read_settings().rate)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_addresses_of_postgresql_are_those_of_libpq(scheme, monkeypatch):
    monkeypatch.setenv("LEYM_DATABASE_URL", f"{scheme}://leym:p%40ss@db.example:5433/jobs?sslmode=require")
    url = make_url(read_settings().database)
    assert (url.get_backend_name(), url.password, url.port, url.database) == ("postgresql", "p@ss", 5433, "jobs")


def test_settings_that_name_files_are_absolute_from_the_start_on(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, value in {
        "DATA": "data",
        "DATABASE_URL": "sqlite:///rel/jobs.sqlite",
        "STORE_URL": "file:some%20store",
        "BATCH_SIZES": "sizes.json",
        "REDIS_URL": "rediss://:word@127.0.0.1:6379/0?ssl_ca_certs=tls/ca.pem&ssl_check_hostname=false",
    }.items():
        monkeypatch.setenv(f"LEYM_{name}", value)
    given = read_settings().environment()
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir("/")
    found = read_settings()
    assert (found.data, found.database) == (tmp_path / "data", tmp_path / "rel" / "jobs.sqlite")
    assert found.store == f"{tmp_path.as_uri()}/some%20store"
    assert found.batch_sizes_file == tmp_path / "sizes.json"
    assert f"ssl_ca_certs={tmp_path}/tls/ca.pem" in found.redis_url
    assert "ssl_check_hostname=false" in found.redis_url


def test_secrets_lose_the_line_end_that_files_add(monkeypatch):
    monkeypatch.setenv("LEYM_TOKEN", f"{HIDDEN}\r\n")
    monkeypatch.setenv("LEYM_LINK_KEY", f" {HIDDEN}\n")
    monkeypatch.setenv("LEYM_REDIS_URL", "redis://:word@127.0.0.1:6379/0\n")
    found = read_settings()
    assert (found.token, found.link_key) == (HIDDEN, HIDDEN)
    assert found.redis_url.endswith("/0")


CELERY = ("celery", "--quiet", "--app=workers.celery_app", "worker")
PROCESSES = {
    "leym jobs": ("leym.cli", "jobs"),
    "leym up": ("leym.cli", "up", "--port", "0"),
    "leym tokens": ("leym.cli", "tokens", "list"),
    "leym doctor": ("leym.cli", "doctor"),
    "health": ("workers.health",),
    "API": ("gunicorn", "--config", "python:app.gunicorn", "--bind", "127.0.0.1:0", "app.wsgi:app"),
    "worker": CELERY,
    "Flower": ("leym.flower",),
}


def run(what: str, folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "LEYM_DATA": str(folder / "data")} | variables
    command = [sys.executable, "-m", *PROCESSES[what]]
    return subprocess.run(command, capture_output=True, text=True, env=env, cwd=folder, timeout=240)


@pytest.mark.parametrize("what", PROCESSES)
def test_a_process_with_a_wrong_setting_ends_at_once_with_one_line(what, tmp_path):
    done = run(what, tmp_path, LEYM_RATE="nonsense")
    [line] = done.stderr.strip().splitlines()
    assert "LEYM_RATE = 'nonsense'" in line
    assert done.returncode == 2
    assert not done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("what", ["leym up", "leym tokens", "API", "worker"])
def test_a_job_table_that_cannot_be_opened_is_one_line(what, tmp_path):
    url = f"postgres://leym:{HIDDEN}@127.0.0.1:1/x"
    done = run(what, tmp_path, LEYM_DATABASE_URL=url, LEYM_REDIS_URL="redis://:word@127.0.0.1:1/0")
    said = [line for line in done.stderr.splitlines() if "LEYM_DATABASE_URL" in line]
    assert len(said) == 1, done.stderr
    assert "cannot be opened" in said[0], done.stderr
    assert done.returncode != 0, done.stderr
    assert "Traceback" not in done.stderr
    assert HIDDEN not in done.stderr


@pytest.mark.slow
def test_a_law_to_warm_that_is_not_there_ends_the_worker_with_one_line(tmp_path):
    done = run("worker", tmp_path, LEYM_WARM="nosuch/fp32/8x8", LEYM_REDIS_URL="redis://:word@127.0.0.1:1/0")
    assert "LEYM_WARM = 'nosuch/fp32/8x8': law: there is no law 'nosuch'" in done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == 2


def test_a_data_folder_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "data").write_text("a file")
    done = run("leym tokens", tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"LEYM_DATA = '{tmp_path}/data'")
    assert "Trace" not in done.stderr


def test_an_empty_folder_on_the_command_line_is_refused(tmp_path):
    command = [sys.executable, "-m", "workers.supervisor.up", "--data", ""]
    done = subprocess.run(
        command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)}, cwd=tmp_path
    )
    assert done.returncode == 2
    assert "--data" in done.stderr
    assert list(tmp_path.iterdir()) == []


NAMES = [
    "it's",
    'a "quoted" one',
    "q?x=1",
    "h#1",
    "100%25",
    "ünï ψ",
    "back\\slash",
    "[ab]*",
    "line\nend",
    "-dash",
    "tab\t",
    "$HOME",
]


@pytest.mark.parametrize("name", NAMES)
def test_the_job_table_lies_where_the_folder_is_whatever_its_name(name, tmp_path):
    settings = Settings(data=tmp_path / name)
    JobTable(settings.database).close()
    assert (tmp_path / name / "jobs.sqlite").is_file()
    assert [p.name for p in tmp_path.iterdir()] == [name]
