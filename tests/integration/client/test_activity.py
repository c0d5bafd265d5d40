"""Events of many jobs and deliveries of webhooks through the SDK, against the API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leym.client import Client, ProblemError
from tests.support.api import Api, Pretender, done, reachable
from tests.support.scripted_server import JOB, Scripted, hang_up, streams


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    with reachable(tmp_path) as found:
        yield found


def test_the_events_of_many_jobs_end_with_the_last_of_them(api: Api) -> None:
    ids = [done(api), done(api, seed=3)]
    with Client(api.url) as client:
        found = list(client.events([client.job(ids[0]), ids[1]], replay=True))
        steps = {id: [event.step for event in found if event.job == id and event.kind == "frame"] for id in ids}
        assert steps == {id: sorted({*range(0, 31, 2), *range(0, 31, 3), *range(0, 31, 5)}) for id in ids}
        assert {event.job for event in found if event.kind == "end"} == set(ids)
        middle = next(i for i, event in enumerate(found) if event.kind == "frame" and event.step == 10)
        later = list(client.events(ids, replay=True, after=found[middle].id))
        frames = [(event.job, event.step) for event in found[middle + 1 :] if event.kind == "frame"]
        assert [(event.job, event.step) for event in later if event.kind == "frame"] == frames


def test_events_of_a_job_that_does_not_exist_are_refused(api: Api) -> None:
    with Client(api.url) as client, pytest.raises(ProblemError) as caught:
        next(client.events(["0" * 26]))
    assert caught.value.status == 404


def test_a_lost_stream_of_many_jobs_resumes_where_it_was(scripted: Callable[..., Scripted]) -> None:
    def event(kind: str, step: int, at: str) -> str:
        return f'event: {kind}\nid: {at}\ndata: {{"job": "{JOB["id"]}", "step": {step}}}\n\n'

    server = scripted(
        streams(event("frame", 0, "a") + event("frame", 1, "b"), cut=True),
        hang_up,
        streams(event("frame", 2, "c") + event("end", 2, "d")),
    )
    with Client(server.url) as client:
        assert [(found.kind, found.step) for found in client.events([str(JOB["id"])])] == [
            ("frame", 0), ("frame", 1), ("frame", 2), ("end", 2),
        ]  # fmt: skip
    assert [headers.get("last-event-id") for _, _, headers, _ in server.requests] == [None, "b", "b"]


def test_deliveries_are_listed_and_the_secret_is_replaced(api: Api) -> None:
    with Client(api.url) as client:
        job = client.submit("aurora", (8, 12), 30, webhook="https://example.org/leym")
        worker = Pretender(api, job.id)
        worker.run(30)
        worker.finish()
        api.table.queue_events()
        (delivery,) = client.deliveries(job=job.id)
        assert (delivery["state"], delivery["url"]) == ("pending", "https://example.org/leym")
        with pytest.raises(ProblemError, match="not been attempted yet"):
            client.replay_delivery(delivery["id"])
        assert list(client.deliveries(state="failed")) == []
        first = client.webhook_secret()["secret"]
        replaced = client.replace_webhook_secret()
        assert replaced["previous"] == first != replaced["secret"]


@pytest.mark.parametrize(
    ("old", "new"), [("fields", "list_fields"), ("segments", "list_segments"), ("observables", "series")]
)
def test_properties_that_send_requests_still_work_and_warn(api: Api, old: str, new: str) -> None:
    with Client(api.url) as client:
        job = client.job(done(api))
        with pytest.warns(DeprecationWarning, match=rf"Job\.{old} is deprecated.*{new}") as caught:
            found = getattr(job, old)
        assert caught[0].filename == __file__, "the caller is blamed"
        assert len(found) == len(getattr(job, new)()) - (old == "observables")
        frame = next(job.stream(field="psi"))
        with pytest.warns(DeprecationWarning, match=r"Frame\.data"):
            arrays = frame.data
        assert arrays.keys() == frame.arrays().keys() == {"phase", "channel_power", "psi"}
