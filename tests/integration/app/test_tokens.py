"""Tokens: what proves itself, what is stored, and the command that makes, lists and revokes them."""

from __future__ import annotations

import pytest
from sqlalchemy import update

from app import create_app
from leym.contract.identity import digest_of, id_of, mint
from leym.contract.problems import Problem
from leym.jobs.schema import tokens
from leym.settings import Settings
from tests.support.command import leym_here
from tests.support.laws import random_law

JOB = {"law": "aurora", "grid": [8, 8], "steps": 10, "record": [{"field": "phase", "every": 5}]}
T0 = 1_000_000.0


def test_a_token_proves_itself_until_it_expires_or_is_revoked(table):
    made, token = table.create_token("ada", ["submit", "read"], "lab", ttl_s=100, now=T0)
    caller = table.caller(token, now=T0 + 99)
    assert (caller.project, caller.scopes, caller.token) == ("lab", {"submit", "read"}, made.id)
    assert caller.may("submit")
    assert not caller.may("admin")
    assert table.caller(token, now=T0 + 100) is None
    _, other = table.create_token("bob", ["read"], now=T0)
    assert table.caller(other, now=T0 + 1e9).project == "default"
    table.revoke_token(id_of(other), now=T0 + 5)
    assert table.caller(other, now=T0 + 6) is None
    table.revoke_token(id_of(other))  # twice does no harm
    with pytest.raises(Problem, match="no token"):
        table.revoke_token("nobody")
    assert [t.name for t in table.list_tokens()] == ["ada", "bob"]


def test_only_a_digest_of_a_token_is_stored(table, tmp_path):
    made, token = table.create_token("ada", ["read"])
    secret = token.rpartition(made.id)[2].lstrip("_")
    table.close()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "data").glob("jobs.sqlite*"))
    assert digest_of(token).encode() in kept
    assert secret.encode() not in kept


def test_what_is_nearly_a_token_is_none(table):
    _, token = table.create_token("ada", ["read"])
    changed = token[:-1] + ("A" if token[-1] != "A" else "B")
    for wrong in (changed, token + "A", token[:-1], "", "leym", mint()[1], token.upper(), f"{token}\n"):
        assert table.caller(wrong) is None
    assert table.caller(token) is not None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("ada", ["fly"]), "'fly'"),
        (("ada", []), "scopes are required"),
        (("ada", ["read"], "../up"), r"'\.\./up'"),
        (("", ["read"]), "name has 0"),
    ],
)
def test_tokens_that_would_mean_nothing_are_refused(table, arguments, says):
    with pytest.raises(Problem, match=says):
        table.create_token(*arguments)
    assert not table.has_tokens()


@pytest.mark.slow
def test_work_made_before_the_first_token_is_named_and_can_be_taken_over(tmp_path):
    data = tmp_path / "data"
    app = create_app(Settings(data=data))
    random_law(data / "laws" / "mine", "NCA", d=2, c=4)
    http = app.test_client()
    keyed = {"Idempotency-Key": "first"}
    job = http.post("/v1/jobs", json=JOB | {"law": "mine"}, headers=keyed).json["id"]
    sweep = http.post("/v1/sweeps", json={"base": JOB, "axes": {"seed": [1, 2]}}).json["id"]

    def leym(*arguments):
        done = leym_tokens(data, *arguments)
        assert done.returncode == 0, done.stderr
        return done

    made = leym("create", "ada", "--project", "lab")
    assert "3 jobs and 1 sweeps" in made.stderr
    assert "project default" in made.stderr
    assert "leym tokens take-over lab" in made.stderr
    token = {"Authorization": f"Bearer {made.stdout.strip()}"}
    assert http.get("/v1/jobs", headers=token).json["items"] == []
    assert leym("take-over", "lab").stdout == "moved 3 jobs and 1 sweeps, copied 1 laws\n"
    assert {found["id"] for found in http.get("/v1/jobs", headers=token).json["items"]} >= {job}
    assert http.get(f"/v1/sweeps/{sweep}", headers=token).json["size"] == 2
    assert "mine" in [law["name"] for law in http.get("/v1/laws", headers=token).json["items"]]
    again = http.post("/v1/jobs", json=JOB | {"law": "mine"}, headers=token | keyed)
    assert (again.status_code, again.json["id"]) == (202, job)
    assert leym("create", "bob", "--project", "lab").stderr == ""
    app.extensions["leym"].table.close()


@pytest.mark.parametrize("ttl_s", [0, -1, 3650 * 86400 + 1, 9999999 * 86400, float("inf"), float("nan")])
def test_a_token_lasts_ten_years_at_most(table, ttl_s):
    with pytest.raises(Problem, match=r"ttl_s = .*more than 0 and at most 315360000"):
        table.create_token("ada", ["read"], ttl_s=ttl_s)
    assert table.create_token("ada", ["read"], ttl_s=3650 * 86400)[0].expires_at is not None


def leym_tokens(data, *arguments):
    return leym_here("tokens", *arguments, LEYM_DATA=str(data))


@pytest.mark.slow
def test_the_command_bounds_days_and_lists_what_older_versions_made(table, tmp_path):
    data = tmp_path / "data"
    for days in ("9999999", "0", "-1", "nan", "inf", "1e3", "1_0"):
        done = leym_tokens(data, "create", "x", f"--days={days}")
        assert done.returncode == 2, done.stderr
        assert f"'{days}'" in done.stderr, done.stderr
        assert "3650" in done.stderr, done.stderr
    assert not table.has_tokens()
    made, _ = table.create_token("old", ["read"])
    with table.db.write() as connection:
        connection.execute(update(tokens).where(tokens.c.id == made.id).values(expires_at=1e12))
    listed = leym_tokens(data, "list")
    assert listed.returncode == 0
    assert "until 9999-12-31" in listed.stdout


def test_the_name_of_a_token_is_text_without_control_characters(table):
    for name in ("\x1b[2Jada", "a\nb", "a\tb", "\udcff", "\x9bada", "a\u202eb"):
        with pytest.raises(Problem, match="control characters"):
            table.create_token(name, ["read"])
