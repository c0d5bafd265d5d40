"""Viewers of a job that a real worker runs, through connections that are cut."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from leym.client import Client
from tests.support.relay import cutting


def test_viewers_on_bad_connections_see_exactly_what_a_job_records(service):
    job = service.client.submit("tiny", (16, 16), 400, {"phase": 2, "psi": 50}, observe=10)

    def watch(seed: int):
        with cutting(service.url, cuts=3, most=60_000, seed=seed) as relay, Client(relay.url) as client:
            mine = client.job(job.id)
            if seed % 2:
                return [frame.step for frame in mine.stream(field="phase")]
            return list(mine.live("psi" if seed == 2 else "phase"))

    with ThreadPoolExecutor(4) as threads:
        phase, told, psi, again = threads.map(watch, range(4))
    assert job.refresh().state == "succeeded"
    for field, seen in (("phase", phase), ("psi", psi)):
        steps, frames = job.array(field)
        assert [step for step, _ in seen] == steps.tolist()
        assert np.array_equal(np.stack([frame for _, frame in seen]), frames)
    assert told == again == [step for step, _ in phase]
