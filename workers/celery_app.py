"""The Celery application of workers, for `celery --app=workers.celery_app worker`, with the task that runs a job."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from celery.platforms import SecurityWarning
from celery.signals import task_revoked, worker_init

from leym.settings import settings
from leym.tickets import TASK, app, pool_options
from workers import controls
from workers.fetch_limit import LOOK_AHEAD

log = logging.getLogger(__name__)

# it warns root of pickles in messages, of which this application takes none
warnings.filterwarnings("ignore", category=SecurityWarning)

controls.install()
app.conf.update(pool_options(settings().slots, LOOK_AHEAD))


@app.task(name=TASK, bind=True, acks_late=True, ignore_result=True)
def simulate(self: Any, job_id: str) -> dict[str, Any]:
    """Runs in a thread of the SlotPool, which waits until the job has left its slot."""
    answer: dict[str, Any] = app.host.carry(job_id, self.request.id)
    return answer


@worker_init.connect
def remember_name(sender: Any, **_: Any) -> None:
    app.worker_name = sender.hostname


@task_revoked.connect
def cancel_in_table(request: Any, **_: Any) -> None:
    """Flower's Revoke and Terminate end here: Celery has dropped the ticket, and the job must not be ticketed again.

    The slot first: the cancelled row would refuse its next commit, and Flower would hear of an ordinary end.
    """
    app.host.cancel(request.id)
    job = app.host.table.cancel(request.id)
    log.info("job %s revoked: %s", job.id, job.state)
    app.host.events.announce(job.id, job.step, job.state)
