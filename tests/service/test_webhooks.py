"""A running service: ends are told, deadlines act, records say who did what, and quotes know what jobs have taken."""

from __future__ import annotations

from standardwebhooks.webhooks import Webhook

from tests.support.receivers import receiving
from tests.support.service import until

SHORT = {"law": "tiny", "grid": (32, 32), "steps": 40, "precision": "fp32"}


def test_what_ends_is_told_and_its_record_says_who_ran_it(service):
    client = service.client
    with receiving(500, 200) as receiver:
        hook = {"url": receiver.url}
        short = [client.submit(**SHORT, seed=i, webhook=hook) for i in range(3)]
        long = client.submit(**SHORT | {"steps": 5_000_000}, deadline_s=3.0, webhook=hook)
        sweep = client._http.json(
            "POST",
            "/v1/sweeps",
            having=("id",),
            json={"base": SHORT | {"grid": [32, 32]}, "axes": {"seed": {"count": 3}}, "webhook": hook},
        )
        for job in (*short, long):
            until(lambda job=job: job.refresh().state in ("succeeded", "failed"), what="jobs end")
        until(lambda: len(receiver.received) >= 6, what="five events, and one of them twice")
        secret = client._http.json("GET", "/v1/webhooks/secret", having=("secret",))["secret"]
        events = [Webhook(secret).verify(body, headers) for headers, body in receiver.received]
        assert len({headers["webhook-id"] for headers, _ in receiver.received}) == 5
    told = {(event["type"], event["data"]["id"]) for event in events}
    assert told == {("job.succeeded", job.id) for job in short} | {
        ("job.failed", long.id),
        ("sweep.finished", sweep["id"]),
    }
    record = long.as_dict()
    assert record["error"]["title"] == "Deadline passed"
    assert record["worker"] in {worker["name"] for worker in client.workers()}
    assert record["device_seconds"] > 0
    assert history(client, long.id)[-1]["event"] == "failed"
    assert [item["event"] for item in history(client, short[0].id)] == ["submitted", "claimed", "succeeded"]
    quote = client.quote(**SHORT)
    assert quote["basis"] == "bucket"
    assert 0 < quote["run_s"]["p50"] <= quote["run_s"]["p90"]


def history(client, job):
    return client._http.json("GET", f"/v1/jobs/{job}/history", having=("items",))["items"]
