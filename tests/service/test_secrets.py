"""What is secret stands in no log, no argument list and no answer, however a service is driven and whatever fails."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from app import create_app
from leym import tickets
from leym.client import Client
from leym.contract.spec import JobSpec
from leym.events import Events
from leym.frames.layout import job_prefix
from leym.frames.stores.open import folder_of
from leym.jobs.table import JobTable
from leym.settings import Settings
from tests.support.paths import ROOT
from tests.support.service import until

HIDDEN = "h1ddenW0rd"


def ask(url: str, token: str | None = None, body: object = None, method: str | None = None) -> tuple[int, str]:
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, data=data, headers=headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=240) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as refusal:
        return refusal.code, refusal.read().decode(errors="replace")


@pytest.fixture(scope="module")
def driven(guarded, broker):
    """Its logs, the answers about itself, and all its secrets, after it was used and misused."""
    token, client = guarded.secrets["token"], guarded.client
    assert ask(f"{guarded.url}/v1/jobs")[0] == 401
    assert ask(f"{guarded.url}/v1/jobs", token + "x")[0] == 401
    assert ask(f"{guarded.url}/v1/session", body={"token": token})[0] == 200
    assert ask(f"{guarded.url}/v1/session", body={"tokens": token})[0] == 422
    assert ask(f"{guarded.url}/v1/jobs", token, {"law": token})[0] == 422

    job = client.submit("tiny", (8, 8), 40, {"phase": 5}).wait(240)
    link = job.share(600)["frames"].removesuffix("/frames").rpartition("/")[2]
    shared = f"{guarded.url}/v1/shared/{link}/frames/phase?format=png"
    assert ask(shared)[0] == 200
    assert ask(shared.replace(link, link[:-3]))[0] == 403
    folder = folder_of(Settings(data=guarded.data).store) / job_prefix(job.id) / "phase"
    for path in list(folder.iterdir()):  # the store fails: a file that points to itself
        path.unlink()
        path.symlink_to(path)
    assert ask(shared)[0] == 503

    long = client.submit("tiny", (32, 32), 1_000_000)
    until(lambda: long.refresh().step > 0, what="some progress")
    with broker.redis("operator") as redis:  # every connection breaks, and is made again
        redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    long.cancel()
    assert client.submit("tiny", (8, 8), 20).wait(240).state == "succeeded"
    until(lambda: guarded.of_flower("/api/workers?refresh=1"), what="Flower is back")

    answers = [json.dumps(guarded.of_flower("/api/workers?refresh=1"))]
    answers += [ask(guarded.flower + path)[1] for path in ("/broker", "/workers", "/metrics")]
    answers += [ask(guarded.url + path, token)[1] for path in ("/metrics", "/v1/queue", "/v1/workers", "/readyz")]
    logs = [guarded.log.read_text(), broker.log.read_text()]
    return logs, answers, guarded.secrets | {"link": link}


def leaks(text: str, secrets: dict[str, str]) -> list[str]:
    """List the kinds of secrets that stand in a text; the id of a token and the scope of a link are none."""
    secret_half = {"token": lambda token: token.split("_", 2)[2], "link": lambda link: link.rpartition(".")[2]}
    halves = {name: secret_half.get(name, str)(secret) for name, secret in secrets.items()}
    assert all(len(half) >= 20 for half in halves.values()), "so short a text is found anywhere"
    return [name for name, half in halves.items() if half in text]


def test_the_logs_of_a_service_in_use_have_no_secret(driven):
    logs, _, secrets = driven
    assert {"token", "link", "link key", "password of leym", "password of flower"} <= set(secrets)
    assert "frame store failed" in logs[0]
    assert "leym:**@" in logs[0]
    assert [leaks(log, secrets) for log in logs] == [[], []]


def test_what_it_says_of_itself_has_no_secret(driven):
    _, answers, secrets = driven
    assert [leaks(answer, secrets) for answer in answers] == [[] for _ in answers]


def test_no_argument_list_has_a_secret(driven):
    """Everybody on a machine may read them."""
    lists = [path.read_bytes().decode(errors="replace") for path in readable(Path("/proc").glob("[0-9]*/cmdline"))]
    if not lists:
        pytest.skip("no /proc on this machine")
    assert any("workers.celery_app" in one for one in lists)
    assert leaks("\n".join(lists), driven[2]) == []


def readable(paths):
    for path in paths:
        try:
            path.read_bytes()
        except OSError:  # ended meanwhile
            continue
        yield path


def test_settings_and_services_that_are_printed_show_none(tmp_path):
    hidden = dict.fromkeys(("token", "link_key"), HIDDEN)
    schemes = {"redis_url": "redis", "database_url": "postgresql", "store_url": "s3"}
    urls = {name: f"{scheme}://u:{HIDDEN}@h/0" for name, scheme in schemes.items()}
    assert HIDDEN not in repr(Settings(**hidden, **urls))
    assert HIDDEN not in str(Settings(**hidden, **urls))


DATABASES = (
    f"postgresql+psycopg://leym:{HIDDEN}@127.0.0.1:1/x",
    f"postgresql+psycopg://leym:{HIDDEN}@127.0.0.1:port/x",
    f"mysql://leym:{HIDDEN}@127.0.0.1/x",
    f"postgresql:/leym:{HIDDEN}@127.0.0.1/x",
)


@pytest.mark.parametrize("url", DATABASES)
def test_a_database_that_cannot_be_opened_is_said_without_its_password(url, tmp_path):
    command = [sys.executable, "-m", "leym.cli", "tokens", "list"]
    env = {"LEYM_DATA": str(tmp_path), "LEYM_DATABASE_URL": url, "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=ROOT, timeout=240)
    assert done.returncode != 0
    assert done.stderr
    assert HIDDEN not in done.stderr + done.stdout


def test_a_failed_statement_is_said_without_its_values(tmp_path):
    table = JobTable(f"sqlite:///{tmp_path}/jobs.sqlite")
    with table.db.write() as connection:
        connection.exec_driver_sql("DROP TABLE leym_jobs")
    spec = JobSpec.model_validate({"law": "tiny", "grid": (8, 8), "steps": 1, "tags": {"k": HIDDEN}})
    with pytest.raises(OperationalError) as failed:
        table.submit(spec, law="tiny@0", precision="fp32", d_state=4)
    assert "no such table" in str(failed.value)
    assert HIDDEN not in str(failed.value)
    table.close()


def test_a_broker_that_is_away_is_said_without_its_password(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    settings = Settings(data=tmp_path, redis_url=f"redis://leym:{HIDDEN}@127.0.0.1:1/0", rate="1000/second")
    client = create_app(settings).test_client()
    try:
        made = client.post("/v1/jobs", json={"law": "aurora", "grid": [8, 8], "steps": 10})
        assert made.status_code == 202
        assert client.get("/readyz").status_code == 200
        until(lambda: "the broker does not take tickets" in caplog.text, what="the thread that sends has said so")
        Events(settings.redis_url).announce("a", 1, "running")
    finally:
        tickets.configure(Settings())
    assert "Redis does not accept wake-ups" in caplog.text
    assert HIDDEN not in caplog.text


def leym(guarded, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "leym.cli", "--url", guarded.url, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=guarded.env | env, timeout=240)


def test_a_token_with_a_line_end_is_the_token_wherever_it_comes_in(guarded):
    token = guarded.secrets["token"] + "\r\n"
    for done in (leym(guarded, "jobs", LEYM_TOKEN=token), leym(guarded, "--token", token, "jobs")):
        assert done.returncode == 0, done.stderr
    with Client(guarded.url, token=token) as client:
        assert client.ready()
    assert ask(f"{guarded.url}/v1/session", body={"token": token})[0] == 200


@pytest.mark.parametrize("secret", [f"{HIDDEN}\nx", f"{HIDDEN}ψ", f"{HIDDEN} x", f"{HIDDEN}\udcff", f"{HIDDEN}\x7f"])
def test_a_token_that_no_header_can_carry_is_refused_in_words_that_do_not_show_it(secret, guarded):
    for done in (leym(guarded, "jobs", LEYM_TOKEN=secret), leym(guarded, "--token", secret, "jobs")):
        assert done.returncode == 2
        assert HIDDEN not in done.stderr + done.stdout
        assert re.fullmatch(r"leym: .*(printable ASCII|a unicode string).*\n", done.stderr)
    for refused in ({"token": secret}, {"token": "", "headers": {"Authorization": f"Bearer {secret[:10]}\n"}}):
        with pytest.raises(ValueError, match="printable ASCII") as error:
            Client(guarded.url, **refused)
        assert HIDDEN not in str(error.value)


def test_a_token_is_revoked_by_itself_and_a_part_of_one_is_not_shown(tmp_path):
    table = JobTable(tmp_path / "jobs.sqlite")
    _, token = table.create_token("a", ["read"])

    def revoke(what: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "leym.cli", "tokens", "revoke", what]
        env = os.environ | {"LEYM_DATA": str(tmp_path)}
        return subprocess.run(command, capture_output=True, text=True, env=env, timeout=240)

    part = revoke(token[:-3])
    assert part.returncode == 1
    assert "not shown" in part.stderr
    assert token[20:30] not in part.stderr
    assert table.caller(token) is not None
    assert revoke(token + "\n").returncode == 0
    assert table.caller(token) is None
    table.close()
