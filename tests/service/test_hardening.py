"""Messages that are not tickets: somebody with access to the broker sends them, and no worker runs anything of them."""

from __future__ import annotations

import json
import os
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from redis import Redis

from leym.settings import Settings
from leym.tickets import TASK, make_app
from tests.support.checkpoints import Calls
from tests.support.service import Service, until

ID = "0" * 26


def broker_of(service: Service) -> str:
    """Return the address of the service's embedded Valkey."""
    config = (service.data / "valkey" / "valkey.conf").read_text()
    port, password = (re.search(rf"^{key} (\S+)$", config, re.M)[1] for key in ("port", "requirepass"))
    return f"redis://:{password}@127.0.0.1:{port}/0"


def put_into_queue(url: str, body: bytes, content_type: str | None, **headers: Any) -> None:
    """Send a message with the headers of a ticket, and wait until a worker has taken it."""
    with make_app(Settings(redis_url=url)).connection_for_write() as connection, connection.Producer() as producer:
        encoding = "utf-8" if content_type == "application/json" else "binary"
        headers = {"task": TASK, "id": ID, "root_id": ID, "lang": "py"} | headers
        producer.publish(
            body, routing_key="leym", headers=headers, content_type=content_type, content_encoding=encoding
        )
    with Redis.from_url(url) as redis:
        until(lambda: not redis.llen("leym"), what="a worker takes it")


def unacknowledged(service: Service) -> set[bytes]:
    """Return the messages that workers have not acknowledged, those of killed workers of other tests among them."""
    with Redis.from_url(broker_of(service)) as redis:
        return set(redis.hkeys("unacked"))


def worker_survives(service: Service, workers: list[int], before: set[bytes]) -> bool:
    """Return whether the same process runs the next job, after it has discarded the message."""
    job = service.client.submit("tiny", (8, 8), 20).wait(240)
    until(lambda: unacknowledged(service) <= before, what="it is discarded")
    return job.state == "succeeded" and service.worker_pids() == workers


def pickled(marker: Path) -> bytes:
    return pickle.dumps([[Calls(os.mkdir, str(marker))], {}, {}])


def yamled(marker: Path) -> bytes:
    return f"!!python/object/apply:os.mkdir ['{marker}']".encode()


@pytest.mark.parametrize(
    ("make", "read_carelessly", "content_type"),
    [
        (pickled, pickle.loads, "application/x-python-serialize"),
        (yamled, yaml.unsafe_load, "application/x-yaml"),
        (pickled, pickle.loads, None),
    ],
    ids=["pickle", "yaml", "undeclared"],
)
def test_a_message_that_is_not_json_runs_nothing_and_the_worker_survives(
    make, read_carelessly, content_type, service, tmp_path
):
    marker = tmp_path / "it-ran"
    body = make(marker)
    read_carelessly(body)
    marker.rmdir()  # the message does run code where it is read carelessly
    workers, kept, before = service.worker_pids(), unacknowledged(service), len(service.log.read_text())
    put_into_queue(broker_of(service), body, content_type)
    assert worker_survives(service, workers, kept)
    assert not marker.exists()
    assert "a message that is not a ticket is discarded: content_type = " in service.log.read_text()[before:]


def test_celery_accepts_json_only_wherever_it_reads():
    """The consumer of tickets is not the only reader: remote control and events are read too."""
    conf = make_app(Settings()).conf
    assert list(conf.accept_content) == ["json"]
    assert list(conf.result_accept_content) == ["json"]


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        ([["../../x"], {}, {}], {}),
        ([[ID, ID], {}, {}], {}),
        ([[ID], {"self": 1}, {}], {}),
        ([[ID], {}, {"chain": [{"task": TASK, "args": [ID]}]}], {}),
        ({"args": [ID], "kwargs": {}}, {}),
        (5, {}),
        ([[], {}, {}], {"task": "celery.chord_unlock"}),
        ([[ID], {}, {}], {"task": ["celery.map"]}),
        ([[ID], {}, {}], {"id": {}}),
        ([[ID], {}, {}], {"eta": "3000-01-01"}),
    ],
    ids=str,
)
def test_a_message_that_is_not_a_ticket_is_discarded_whatever_its_shape(body, headers, service):
    workers, kept, before = service.worker_pids(), unacknowledged(service), len(service.log.read_text())
    put_into_queue(broker_of(service), json.dumps(body).encode(), "application/json", **headers)
    assert worker_survives(service, workers, kept)
    assert "a message that is not a ticket is discarded" in service.log.read_text()[before:]


def test_a_forged_ticket_finds_no_job_to_run(service):
    workers, kept, before = service.worker_pids(), unacknowledged(service), service.client.queue()["jobs"]
    put_into_queue(broker_of(service), json.dumps([[ID], {}, {}]).encode(), "application/json")
    assert worker_survives(service, workers, kept)
    assert service.client.queue()["jobs"] == before
    assert "'state': 'not claimable'" in service.log.read_text()
