"""The Celery application of workers, for `celery --app=workers.celery_app worker`, with the task that runs a job."""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any

from celery.platforms import SecurityWarning
from celery.signals import task_revoked, worker_init

from leym.contract.records import TRAINING
from leym.settings import settings
from leym.tickets import TASK, TRAINING_TASK, app, pool_options
from workers import controls
from workers.fetch_limit import FetchLimit

log = logging.getLogger(__name__)

NICENESS = 10  # of training workers: half of the way to the lowest priority

# Celery warns a root user that pickled messages could run code; this application accepts none
warnings.filterwarnings("ignore", category=SecurityWarning)

controls.install()
app.conf.update(pool_options(FetchLimit(settings()).minimum))
# named, since Celery would otherwise also take tickets from every queue that this process has sent one to
app.amqp.queues.select([controls.own_queue(settings())])


@app.task(name=TASK, bind=True, acks_late=True, ignore_result=True)
def simulate(self: Any, job_id: str) -> dict[str, Any]:
    """Run a job; blocks a thread of the SlotPool until the job has left the worker."""
    outcome: dict[str, Any] = app.job_runner.run(job_id, self.request.id)
    return outcome


@app.task(name=TRAINING_TASK, bind=True, acks_late=True, ignore_result=True)
def train(self: Any, job_id: str) -> dict[str, Any]:
    """Run a training; blocks a thread of the SlotPool until it has left the worker."""
    outcome: dict[str, Any] = app.job_runner.run(job_id, self.request.id)
    return outcome


@worker_init.connect
def remember_name(sender: Any, **_: Any) -> None:
    """Keep the worker's host name for SlotPool, and let simulations on this machine go before trainings."""
    app.worker_name = sender.hostname
    if settings().worker == TRAINING:
        os.nice(NICENESS)  # before other threads start: they inherit it


@task_revoked.connect
def cancel_in_table(request: Any, **_: Any) -> None:
    """Cancel a job whose ticket was revoked, for example by Flower's Revoke or Terminate.

    Celery has dropped the ticket, and a row that stayed queued would get another one. The slot is freed first:
    otherwise the cancelled row would refuse the job's next commit, and Flower would show an ordinary end.
    """
    app.job_runner.cancel(request.id)
    job = app.job_runner.table.cancel(request.id)
    log.info("job %s revoked: %s", job.id, job.state)
    app.job_runner.events.announce(job.id, job.step, job.state)
