"""Starts and drains worker processes of this machine by backlog: the worker line of the Procfile."""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import Annotated

import typer

from leym.contract.records import SIMULATION, TRAINING
from leym.events import Events
from leym.frames.stores.open import open_store
from leym.jobs.table import open_table
from leym.settings import settings
from workers.maintenance.collector import Collector
from workers.outages import TABLE_UNAVAILABLE
from workers.reaper import Reaper
from workers.supervisor.autoscaler import Limits, autoscale_range
from workers.supervisor.fleet import Fleet, training_limits
from workers.webhooks.sender import WebhookSender

log = logging.getLogger("leym.scale")

TICK_S = 1.0


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def run(
    autoscale: Annotated[
        str | None, typer.Option(metavar="MIN:MAX", help="least and most workers; default: LEYM_AUTOSCALE")
    ] = None,
    training: Annotated[
        bool, typer.Option("--training", help="workers of trainings, at most LEYM_TRAINING_WORKERS")
    ] = False,
) -> None:
    """Start and stop the worker processes of this machine by backlog, until SIGINT or SIGTERM."""
    configured = settings()
    if training:
        limits = training_limits(configured)
    else:
        try:
            minimum, maximum = autoscale_range(configured.autoscale if autoscale is None else autoscale)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="'--autoscale'") from error
        limits = Limits(minimum, maximum, configured.autoscale_idle_s)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    table, events = open_table(configured), Events(configured.redis_url or None)
    reaper = Reaper(table, events, configured)
    webhooks = WebhookSender(table, configured, reaper.is_leader)
    collector = Collector(table, open_store(configured.store), configured)
    kind = TRAINING if training else SIMULATION
    fleet = Fleet(table, configured, limits, os.environ, kind=kind)
    reaper.start()
    webhooks.start()
    collector.start()
    while not stopping.is_set():
        try:
            fleet.tick()
        except TABLE_UNAVAILABLE as error:
            log.warning("the job table does not answer: %s", error)
        stopping.wait(TICK_S)
    collector.stop()
    webhooks.stop()
    reaper.stop()
    fleet.drain()
    events.close()
    table.close()


if __name__ == "__main__":
    app(prog_name="python -m workers.supervisor.scale")
