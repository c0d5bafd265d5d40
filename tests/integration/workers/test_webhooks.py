"""Webhooks: events of ended work reach a receiver, signed, at least once, and never a private address."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time

import pytest
from sqlalchemy import select, update
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from leym.contract.problems import Problem
from leym.contract.records import JobState
from leym.jobs.schema import deliveries, jobs
from leym.jobs.webhooks import RETRY_S
from tests.support.api import SPEC, Api, Pretender, opened, refused, run_blocks
from tests.support.receivers import Receiver, receiving
from workers.webhooks import post as posting
from workers.webhooks.sender import WebhookSender

BASE = {"law": "aurora", "grid": [8, 12], "steps": 30, "observe": {"every": 10, "names": ["coherence"]}}


@pytest.fixture
def api(tmp_path):
    with opened(tmp_path, webhook_private=True) as found:
        yield found


def sender_of(api: Api) -> WebhookSender:
    return WebhookSender(api.table, api.services.settings, lambda: True)


def attempt_all(api: Api, now: float | None = None) -> None:
    """Queues new events and makes the attempts that are due at a time, one after the other."""
    sender = sender_of(api)
    api.table.queue_events()
    for delivery in api.table.take(100, 60.0, now):
        sender.deliver(delivery)


def ended(api: Api, url: str, state: str = "succeeded") -> str:
    job = api.submit(webhook={"url": url})
    worker = Pretender(api, job)
    worker.run(30)
    worker.finish(state)
    return job


def log(api: Api, job: str) -> dict:
    [delivery] = api.http.get(f"/v1/webhooks/deliveries?job={job}").json["items"]
    return delivery


def check(api: Api, receiver: Receiver, n: int) -> dict:
    """Verifies a request with the implementation of others, and returns the event."""
    headers, body = receiver.received[n]
    secret = api.http.get("/v1/webhooks/secret").json["secret"]
    event = Webhook(secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body + b" ", headers)
    return event


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
def test_the_end_of_a_job_is_told_once_with_its_record(api, state):
    with receiving() as receiver:
        if state == "cancelled":
            job = api.submit(webhook={"url": receiver.url})
            attempt_all(api)
            assert receiver.received == []  # it has not ended
            api.http.post(f"/v1/jobs/{job}/cancel", json={})
        else:
            job = ended(api, receiver.url, state)
        for _ in range(3):
            attempt_all(api)
        assert len(receiver.received) == 1
        event = check(api, receiver, 0)
    record = api.http.get(f"/v1/jobs/{job}").json
    assert event == {"type": f"job.{state}", "timestamp": record["finished_at"], "data": record}
    assert "webhook" not in record["spec"]
    headers = receiver.received[0][0]
    found = log(api, job)
    assert (found["id"], found["state"], found["attempts"]) == (headers["webhook-id"], "delivered", 1)
    assert found["log"][0]["status"] == 200
    assert found["next_at"] is None


def test_an_error_is_tried_again_with_the_same_id_and_body_and_a_new_signature(api):
    with receiving(500, 200) as receiver:
        job = ended(api, receiver.url)
        attempt_all(api)
        assert log(api, job)["log"][0]["error"] == "it answered 500"
        attempt_all(api)  # the next attempt is seconds away
        assert len(receiver.received) == 1
        attempt_all(api, time.time() + 1.3 * RETRY_S[0])
        (first, body), (second, again) = receiver.received
        check(api, receiver, 1)
    assert body == again
    assert first["webhook-id"] == second["webhook-id"]
    assert [attempt["status"] for attempt in log(api, job)["log"]] == [500, 200]
    assert log(api, job)["state"] == "delivered"


def test_a_dead_receiver_is_given_up_after_all_retries_and_gets_the_event_at_a_replay(api):
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))  # refuses connections
        url = f"http://127.0.0.1:{reserved.getsockname()[1]}/"
        job = ended(api, url)
        for n, pause in enumerate((*RETRY_S, None)):
            attempt_all(api)
            found = log(api, job)
            assert found["attempts"] == n + 1
            if pause:
                [delivery] = api.table.list_deliveries()[0]
                assert 0.79 * pause < delivery.next_at - time.time() < 1.21 * pause
                with api.table.db.write() as connection:  # as if the time had passed
                    connection.execute(update(deliveries).values(next_at=0.0))
    found = log(api, job)
    assert (found["state"], found["attempts"], found["next_at"]) == ("failed", 8, None)
    assert "refused" in found["log"][-1]["error"]
    assert api.table.failing_deliveries() == {"waiting": 0, "retrying": 0, "failed": 1}
    assert 'leym_webhook_deliveries{state="failed"} 1.0' in api.http.get("/metrics").text
    with receiving() as receiver:
        with api.table.db.write() as connection:
            connection.execute(update(deliveries).values(url=receiver.url))
        answer = api.http.post(f"/v1/webhooks/deliveries/{found['id']}/replay", json={})
        assert (answer.status_code, answer.json["state"], answer.json["attempts"]) == (202, "pending", 0)
        attempt_all(api)
        assert receiver.received[0][0]["webhook-id"] == found["id"]
    refused(api.http.post(f"/v1/webhooks/deliveries/{'0' * 26}/replay", json={}), 404)


def test_an_event_whose_sender_dies_is_delivered_by_another_one(api):
    with receiving() as receiver:
        job = ended(api, receiver.url)
        api.table.queue_events()
        assert len(api.table.take(10, 60.0)) == 1  # and dies
        attempt_all(api)
        assert receiver.received == []
        attempt_all(api, time.time() + 61)
        assert len(receiver.received) == 1
    assert log(api, job)["state"] == "delivered"


@pytest.mark.parametrize("answer", ["drip", "endless"])
def test_an_answer_that_never_ends_is_cut_off(api, answer, monkeypatch):
    monkeypatch.setattr("workers.webhooks.sender.TIMEOUT_S", 0.5)
    with receiving(answer) as receiver:
        job = ended(api, receiver.url)
        attempt_all(api)
        found = log(api, job)
    if answer == "drip":
        assert "no complete answer within 0.5 s" in found["log"][0]["error"]
    else:  # the status is what counts, and so much of the body is not read
        assert found["state"] == "delivered"


def test_a_redirect_is_not_followed(api):
    with receiving() as elsewhere, receiving((307, elsewhere.url)) as receiver:
        job = ended(api, receiver.url)
        attempt_all(api)
        assert elsewhere.received == []
    assert log(api, job)["log"][0]["error"] == "it answered 307; redirects are not followed"


def test_a_receiver_that_is_gone_for_good_is_not_asked_again(api):
    with receiving(410) as receiver:
        job = ended(api, receiver.url)
        attempt_all(api)
    assert log(api, job)["state"] == "failed"


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "10.1.2.3", "169.254.169.254", "2130706433", "localhost"])
def test_a_private_address_in_the_url_is_refused_at_once(tmp_path, host):
    with opened(tmp_path) as api:
        spec = SPEC | {"webhook": {"url": f"http://{host}:8000/x"}}
        refused(api.http.post("/v1/jobs", json=spec), 422, "LEYM_WEBHOOK_PRIVATE", pointer="/webhook/url")
        sweep = {"base": SPEC, "axes": {"seed": [1]}, "webhook": spec["webhook"]}
        refused(api.http.post("/v1/sweeps", json=sweep), 422, pointer="/webhook/url")


@pytest.mark.parametrize(
    "url", ["ftp://example.org/", "https://a:b@example.org/", "https:///x", "https://example.org/ x", "mailto:a@b.c"]
)
def test_a_url_that_cannot_be_called_is_refused(api, url):
    refused(api.http.post("/v1/jobs", json=SPEC | {"webhook": {"url": url}}), 422, pointer="/webhook/url")


def test_a_name_that_leads_to_a_private_address_is_refused_when_it_is_called(tmp_path, monkeypatch):
    resolved = []

    def resolve(host, port, **_):
        resolved.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    with opened(tmp_path) as api, receiving() as receiver:
        monkeypatch.setattr(posting.socket, "getaddrinfo", resolve)
        job = ended(api, f"http://innocent.example:{receiver.port}/")
        attempt_all(api)
        assert receiver.received == []
        found = log(api, job)
    assert resolved == ["innocent.example"]
    assert found["state"] == "failed"
    assert "innocent.example leads to 127.0.0.1, which is no public address" in found["log"][0]["error"]


def test_a_name_is_resolved_once_and_the_connection_goes_to_the_checked_address(monkeypatch):
    """DNS rebinding: the second answer, a private address, is never asked for."""
    answers, dialled = ["203.0.113.9", "127.0.0.1"], []
    monkeypatch.setattr(posting, "is_public", lambda address: str(address) == "203.0.113.9")
    monkeypatch.setattr(posting.socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "", (answers.pop(0), 80))])

    def dial(address, _timeout):
        dialled.append(address)
        raise ConnectionRefusedError("nobody is there")

    monkeypatch.setattr(posting.socket, "create_connection", dial)
    with pytest.raises(ConnectionRefusedError):
        posting.post("http://two-faced.example/", b"", {}, timeout_s=1, allow_private=False)
    assert dialled == [("203.0.113.9", 80)]


def test_a_peer_that_speaks_no_http_is_an_error_and_no_answer(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def speak():
            peer, _ = server.accept()
            with peer:
                peer.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=speak)
        thread.start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        with pytest.raises((http.client.HTTPException, OSError)):
            posting.post(url, b"{}", {}, timeout_s=2, allow_private=True)
        thread.join()


def test_a_sweep_is_told_once_at_its_end_and_again_when_it_has_grown(api):
    with receiving() as receiver:
        sweep = {"base": BASE, "axes": {"seed": {"start": 0, "count": 4}}, "webhook": {"url": receiver.url}}
        made = api.http.post("/v1/sweeps", json=sweep).json
        assert "webhook" not in made["spec"]
        attempt_all(api)
        assert receiver.received == []
        run_blocks(api, made["id"])
        attempt_all(api)
        attempt_all(api)
        [event] = [check(api, receiver, n) for n in range(len(receiver.received))]
        assert (event["type"], event["data"]["id"]) == ("sweep.finished", made["id"])
        assert event["data"]["counts"]["failed"] == 2
        more = {"axes": {"seed": {"start": 4, "count": 2}}}
        assert api.http.post(f"/v1/sweeps/{made['id']}/members", json=more).status_code == 202
        attempt_all(api)
        assert len(receiver.received) == 1
        run_blocks(api, made["id"])
        attempt_all(api)
        assert check(api, receiver, 1)["data"]["size"] == 6
    base = {"base": BASE | {"webhook": {"url": receiver.url}}, "axes": {"seed": [1]}}
    refused(api.http.post("/v1/sweeps", json=base), 422, "beside its base", pointer="/base/webhook")
    axis = {"base": BASE, "axes": {"webhook.url": [receiver.url]}}
    refused(api.http.post("/v1/sweeps", json=axis), 422)


def test_a_replaced_secret_signs_too_for_a_day(api):
    old = api.http.get("/v1/webhooks/secret").json["secret"]
    new = api.http.post("/v1/webhooks/secret", json={}).json
    assert new["previous"] == old != new["secret"]
    with receiving() as receiver:
        ended(api, receiver.url)
        attempt_all(api)
        headers, body = receiver.received[0]
        for secret in (old, new["secret"]):
            assert Webhook(secret).verify(body, headers)["type"] == "job.succeeded"
    assert api.table.webhook_secrets(now=time.time() + 25 * 3600) == [new["secret"]]


def test_a_project_sees_its_own_deliveries_and_secret(api):
    with receiving() as receiver:
        job = ended(api, receiver.url)
        attempt_all(api)
    other = api.table.of("other")
    assert other.list_deliveries(subject=job) == ([], None)
    with pytest.raises(Problem, match="there is no delivery"):
        other.replay(log(api, job)["id"])
    assert other.webhook_secrets() != api.table.webhook_secrets()


def test_the_thread_delivers_what_ends_and_old_deliveries_are_forgotten(api, monkeypatch):
    monkeypatch.setattr("workers.webhooks.sender.PERIOD_S", 0.02)
    sender = sender_of(api)
    sender.start()
    with receiving(500, 200) as receiver:
        jobs = [ended(api, receiver.url) for _ in range(3)]
        until = time.monotonic() + 10
        while len(receiver.received) < 3 and time.monotonic() < until:
            time.sleep(0.02)
        sender.stop()
    assert {json.loads(body)["data"]["id"] for _, body in receiver.received} == set(jobs)
    api.table.forget_deliveries(time.time() + 31 * 86400)
    assert [d.state for d in api.table.list_deliveries()[0]] == ["pending"]  # the one that was answered 500


def test_a_repeated_submission_with_a_webhook_is_the_first_one(api):
    headers, spec = {"Idempotency-Key": "k"}, SPEC | {"webhook": {"url": "https://example.org/a"}}
    first, again = (api.http.post("/v1/jobs", json=spec, headers=headers).json["id"] for _ in range(2))
    assert first == again
    other = spec | {"webhook": {"url": "https://example.org/b"}}
    refused(api.http.post("/v1/jobs", json=other, headers=headers), 422, "Idempotency-Key")


def test_a_training_is_told_by_its_own_name(api):
    with receiving() as receiver:
        recipe = {
            "name": "tiny",
            "law": {"architecture": "NCA", "d_state": 1, "hidden_channels": 8, "options": {"padding": "periodic"}},
            "objective": {"kind": "teacher", "teacher": "kuramoto"},
            "train": {"updates": 10, "grid": [16, 16]},
        }
        answer = api.http.post("/v1/trainings", json={"recipe": recipe, "webhook": {"url": receiver.url}})
        assert answer.status_code == 202, answer.text
        claim = api.table.claim(answer.json["id"], "w", 60, 3)
        api.table.finish(claim.job.id, claim.epoch, JobState.FAILED, step=0, manifest={}, error={"title": "x"})
        attempt_all(api)
        assert check(api, receiver, 0)["type"] == "training.failed"


def test_a_job_that_an_earlier_one_may_serve_calls_nobody(api):
    spec = SPEC | {"reuse": True, "webhook": {"url": "https://example.org/a"}}
    refused(api.http.post("/v1/jobs", json=spec), 422, "reuse", pointer="/webhook")


def test_the_url_is_in_no_record(api):
    first = api.submit(webhook={"url": "https://example.org/a"})
    with api.table.db.read() as connection:
        spec = json.loads(connection.execute(select(jobs.c.spec).where(jobs.c.id == first)).scalar_one())
    assert "webhook" not in spec
    assert "example.org" not in api.http.get(f"/v1/jobs/{first}").text
