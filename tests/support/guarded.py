"""A service with everything locked, for tests: broker users, TLS to it, a database password, a token, a link key."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

import pytest
import sqlalchemy as sa

from leym.client import Client
from leym.contract.identity import SCOPES
from leym.jobs.table import JobTable
from leym.settings import Settings
from tests.support.brokers import UsersBroker
from tests.support.databases import has_postgresql
from tests.support.paths import ROOT
from tests.support.service import Service, add_laws, until
from tests.support.tls import Certificates, Front, make_certificates
from workers.broker import free_port


@pytest.fixture(scope="session")
def broker(tmp_path_factory):
    made = UsersBroker(tmp_path_factory.mktemp("users") / "valkey")
    yield made
    made.stop()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    if shutil.which("openssl") is None:
        pytest.skip("the program openssl is not on this machine: it makes the certificates")
    return make_certificates(tmp_path_factory.mktemp("tls") / "certificates")


@pytest.fixture(scope="session")
def front(broker, certificates):
    """TLS before the broker: the embedded Valkey is built without it."""
    made = Front(certificates, broker.port)
    yield made
    made.stop()


def over_tls(url: str, front: Front, certificates: Certificates) -> str:
    """The same broker through the front, as a client with a certificate."""
    address = url.replace("redis://", "rediss://").rpartition(":")[0]
    certificate, key = certificates.client
    files = f"ssl_ca_certs={certificates.authority}&ssl_certfile={certificate}&ssl_keyfile={key}"
    return f"{address}:{front.port}/0?{files}"


class Guarded(Service):
    """secrets: what must never be shown. flower: its address."""

    secrets: dict[str, str]
    flower: str

    def of_flower(self, path: str, data: bytes | None = None) -> Any:
        """Its answer; None while it does not answer."""
        try:
            with urllib.request.urlopen(self.flower + path, data=data, timeout=10) as answer:
                return json.loads(answer.read())
        except (urllib.error.URLError, OSError):
            return None


@pytest.fixture(scope="session")
def guarded(tmp_path_factory, request, broker, front, certificates):
    """`leym up` as the broker's user `leym`, and Flower beside it as the user `flower`."""
    data = tmp_path_factory.mktemp("guarded")
    add_laws(data)
    hidden = {name: secrets.token_hex(16) for name in ("database password", "link key")}
    settings = {
        "LEYM_REDIS_URL": over_tls(broker.url("leym"), front, certificates),
        "LEYM_RATE": "1000/second",
        "LEYM_LINK_KEY": hidden["link key"],
    }
    if has_postgresql():
        server = sa.make_url(request.getfixturevalue("postgresql"))
        engine = sa.create_engine(server, poolclass=sa.NullPool)
        with engine.begin() as connection:
            connection.exec_driver_sql("CREATE SCHEMA guarded")
        url = server.set(password=hidden["database password"])  # the server trusts its socket and asks for none
        url = url.update_query_dict({"options": "-csearch_path=guarded"})
        settings["LEYM_DATABASE_URL"] = url.render_as_string(hide_password=False)
    running = Guarded(data, "--no-flower", **settings)
    table = JobTable(settings.get("LEYM_DATABASE_URL") or Settings(data=data).database)
    _, token = table.create_token("all", SCOPES)
    table.close()
    running.start()
    running.client = Client(running.url, token=token)
    running.secrets = hidden | {"token": token} | {f"password of {u}": p for u, p in broker.passwords.items()}
    running.flower = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "leym.flower", f"--port={port}"]
    seen_by_flower = {"LEYM_REDIS_URL": over_tls(broker.url("flower"), front, certificates)}
    env = running.env | seen_by_flower | {"FLOWER_UNAUTHENTICATED_API": "true"}
    with running.log.open("ab") as log:
        flower = subprocess.Popen([*command, "--address=127.0.0.1"], stderr=log, stdout=log, env=env, cwd=ROOT)
    try:
        until(lambda: running.of_flower("/api/workers?refresh=1"), what="Flower has found the worker")
        yield running
    finally:
        flower.terminate()
        flower.wait(240)
        code = running.stop()
    assert code == 0, running.tail()
