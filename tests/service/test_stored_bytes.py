"""A running service counts what is in its store."""

from __future__ import annotations

import os
import signal

from leym.frames.layout import job_prefix
from leym.frames.stores.open import open_store
from leym.settings import Settings
from tests.support.service import until


def test_a_running_service_counts_what_is_in_its_store(service):
    """Also of a job whose worker died in the middle."""
    store = open_store(Settings(data=service.data).store)
    job = service.client.submit("tiny", (16, 16), 1000, {"psi": 10, "phase": 3}, observe=5)
    until(lambda: job.refresh().step > 200, what="some progress")
    assert job.as_dict()["stored_bytes"] > 0
    for pid in service.worker_pids():
        os.kill(pid, signal.SIGKILL)
    job.wait(240)

    def there() -> int:
        return sum(entry.size for entry in store.scan(job_prefix(job.id)))

    stored = job.refresh().as_dict()["stored_bytes"]
    until(lambda: there() == stored, what="what the last commit made superfluous is removed")
    job.delete()
    assert service.table.get(job.id).stored_bytes == 0
