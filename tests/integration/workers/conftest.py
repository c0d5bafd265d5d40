"""A real Valkey, settings that name it, a job table, and jobs for the doctor."""

from __future__ import annotations

import os

import pytest
from redis import Redis

from leym import tickets
from leym.jobs.table import JobTable
from leym.settings import Settings
from tests.support.laws import random_law
from tests.support.patient import patient_of
from workers.broker import Broker


@pytest.fixture(scope="module")
def valkey(tmp_path_factory):
    broker = Broker(tmp_path_factory.mktemp("broker"))
    child = broker.start(os.environ)
    yield broker
    child.end(10)


@pytest.fixture
def settings(valkey, tmp_path):
    made = Settings(data=tmp_path, redis_url=valkey.url)
    with Redis.from_url(valkey.url) as redis:
        redis.flushall()
    tickets.configure(made)
    yield made
    tickets.configure(Settings())


@pytest.fixture
def table(settings):
    made = JobTable(settings.database)
    yield made
    made.close()


@pytest.fixture(scope="session")
def law(tmp_path_factory):
    return random_law(tmp_path_factory.mktemp("law") / "tiny", "MLP", d=3)


@pytest.fixture
def patient(place, law, tmp_path, monkeypatch):
    yield from patient_of(*place, law, tmp_path, monkeypatch)


@pytest.fixture
def here(law, tmp_path, monkeypatch):
    """On SQLite and files only."""
    store_url = (tmp_path / "store").as_uri()
    yield from patient_of(f"sqlite:///{tmp_path / 'jobs.sqlite'}", store_url, law, tmp_path, monkeypatch)
