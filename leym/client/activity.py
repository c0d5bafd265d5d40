"""Events of many jobs, and deliveries of webhooks: the part of the client that follows what happens."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from leym.client.connection import Connection
from leym.client.http import segment
from leym.client.job import Job
from leym.client.live import JobEvent
from leym.client.pages import listed
from leym.client.sse import events

State = Literal["queued", "running", "paused", "succeeded", "failed", "cancelled"]


class Activity(Connection):
    """The part of `Client` that follows many jobs, and the deliveries of webhooks."""

    def events(
        self,
        jobs: Sequence[str | Job] | None = None,
        *,
        sweep: str | None = None,
        state: State | None = None,
        replay: bool = False,
        after: str = "",
    ) -> Iterator[JobEvent]:
        """Yield what happens to many jobs, over one connection that resumes where it was when it is lost.

        Args:
            jobs: up to 100 jobs or ids; then the events end with the last of them. Default: the newest 100 jobs that
                match, at any time, without an end.
            sweep: only members of the sweep with this id.
            state: only jobs in this state.
            replay: begin with the first recorded step of the named jobs.
            after: id of the last event that the caller has.

        Raises:
            ProblemError: a job does not exist, or arguments exclude each other.
            ServiceUnreachable: the service does not answer any more, after all retries.
        """
        named = None if jobs is None else ",".join(job if isinstance(job, str) else job.id for job in jobs)
        given = {"jobs": named, "sweep": sweep, "state": state, "replay": "true" if replay else None}
        query = {key: value for key, value in given.items() if value is not None}
        ended: set[str] = set()
        for event in events(self._http, "/v1/events", last_id=after, params=query):
            data = json.loads(event.data)
            found = JobEvent(event.name, str(data.pop("job")), data, event.id)
            yield found
            if event.name == "end" and named:
                ended.add(found.job)
                if ended >= set(named.split(",")):
                    return

    def deliveries(
        self, *, job: str | None = None, state: str | None = None, limit: int | None = 50
    ) -> Iterator[dict[str, Any]]:
        """Yield the deliveries of webhooks, newest first, each with its attempts; they are kept for 30 days.

        Args:
            job: only those of the job or sweep with this id.
            state: only those in this state: `pending`, `delivered` or `failed`.
            limit: number of deliveries at most; None for all.
        """
        given = {"job": job, "state": state}
        return listed(self._http, "/v1/webhooks/deliveries", {k: v for k, v in given.items() if v is not None}, limit)

    def replay_delivery(self, id: str) -> dict[str, Any]:
        """Deliver an event again, with all retries. The event keeps its id and its body."""
        path = f"/v1/webhooks/deliveries/{segment(id)}/replay"
        return self._http.json("POST", path, having=("id", "state"), json={})

    def webhook_secret(self) -> dict[str, Any]:
        """Return the project's secret that signs webhooks: `secret`, and `previous` while a change is under way."""
        return self._http.json("GET", "/v1/webhooks/secret", having=("secret",))

    def replace_webhook_secret(self) -> dict[str, Any]:
        """Replace the project's secret. For 24 hours both sign, so that receivers can change theirs."""
        return self._http.json("POST", "/v1/webhooks/secret", having=("secret",), json={})
