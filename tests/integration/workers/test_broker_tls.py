"""TLS to the broker: whoever speaks to it checks whom it speaks to, and shows its own certificate.

`tests/integration/workers/test_broker_users.py` runs a whole service over it.
"""

from __future__ import annotations

import time

import pytest
from kombu.exceptions import OperationalError
from redis import Redis
from redis.exceptions import ConnectionError as NoConnection

from leym import tickets
from leym.events import Events
from leym.settings import Settings
from leym.tickets import make_app, tls_of
from tests.support.guarded import over_tls
from tests.support.tls import make_certificates


def kombu_connects(url: str) -> None:
    """As Celery's workers, the API and Flower do."""
    app = make_app(Settings(redis_url=url))
    with app.connection_for_write() as connection:
        connection.ensure_connection(max_retries=1, interval_start=0)
        connection.default_channel.client.ping()


def redis_connects(url: str) -> None:
    """As wake-ups, rates and counts do."""
    with Redis.from_url(url) as redis:
        redis.ping()


@pytest.fixture
def url(broker, front, certificates):
    return over_tls(broker.url("leym"), front, certificates)


def without(url: str, key: str) -> str:
    address, _, query = url.partition("?")
    return address + "?" + "&".join(part for part in query.split("&") if not part.startswith(key))


REFUSALS = (NoConnection, OperationalError, OSError)


@pytest.mark.parametrize("connects", [kombu_connects, redis_connects])
def test_an_unknown_authority_is_refused_whether_one_is_named_or_not(connects, url, certificates, tmp_path):
    connects(url)
    stranger = make_certificates(tmp_path / "stranger").authority
    with pytest.raises(REFUSALS, match=r"(?i)certificate.verify.failed"):
        connects(url.replace(str(certificates.authority), str(stranger)))
    for unnamed in (without(url, "ssl_ca_certs"), url.partition("?")[0]):
        with pytest.raises(REFUSALS, match=r"(?i)certificate.verify.failed"):
            connects(unnamed)


@pytest.mark.parametrize("connects", [kombu_connects, redis_connects])
def test_a_certificate_of_another_name_is_refused(connects, url):
    with pytest.raises(REFUSALS, match=r"(?i)hostname mismatch|certificate is not valid for"):
        connects(url.replace("127.0.0.1", "localhost"))
    connects(url.replace("127.0.0.1", "localhost") + "&ssl_check_hostname=false")


@pytest.mark.parametrize("connects", [kombu_connects, redis_connects])
def test_a_client_without_a_certificate_is_refused(connects, url):
    with pytest.raises(REFUSALS):
        connects(without(without(url, "ssl_certfile"), "ssl_keyfile"))


def test_wake_ups_and_counts_go_over_it(url):
    assert tickets.answers(url)
    assert tickets.waiting(url, "leym") >= 0
    assert not tickets.answers(without(url, "ssl_ca_certs"))
    events = Events(url)
    cursor = events.cursor("a")
    events.announce("a", 1, "running")
    assert events.wait("a", cursor, 20.0) != cursor
    events.close()


def test_without_tls_in_the_address_there_is_none():
    assert tls_of("") is None
    assert tls_of("redis://:x@127.0.0.1:1/0?ssl_ca_certs=x") is None
    assert tls_of("rediss://h") == {"ssl_cert_reqs": "required"}


def test_a_listener_that_is_closed_reads_nothing_of_others(url, tmp_path):
    """OpenSSL reads from a number: were the socket closed under it, it would take bytes of the next file opened."""
    file = tmp_path / "file"
    file.write_bytes(b"0123456789" * 1000)
    for _ in range(30):
        events = Events(url)
        events.cursor("a")
        events.close()
        opened = [file.open("rb", buffering=0) for _ in range(8)]
        time.sleep(0.01)
        assert [one.read(10) for one in opened] == [b"0123456789"] * 8
        for one in opened:
            one.close()
