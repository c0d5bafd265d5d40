"""Answers Prometheus' scrapes with what the API's processes have counted and what the job table and the disk show."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from sqlalchemy.exc import SQLAlchemyError

from app.metrics import ProcessCollector, upper_bound
from app.services import Services
from leym.contract.records import SIMULATION, JobState

log = logging.getLogger(__name__)


def exposition(services: Services) -> Response:
    """Return all metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector(), TableCollector(services), StorageCollector(services)):
        registry.register(collector)
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class TableCollector:
    """Collects jobs, backlog and workers from the job table.

    If the table does not answer, the scrape still succeeds, and the metric `leym_job_table_up` is 0.
    """

    def __init__(self, services: Services):
        self.services = services

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the registry must not read the table in order to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        try:
            found = [*self._jobs(), *self._backlog(), *self._workers(), *self._latencies(), *self._webhooks()]
        except SQLAlchemyError as error:
            log.warning("the job table does not answer, so its metrics are missing: %s", error)
            yield GaugeMetricFamily("leym_job_table_up", "1 when the job table answered this scrape.", 0)
            return
        yield GaugeMetricFamily("leym_job_table_up", "1 when the job table answered this scrape.", 1)
        yield from found

    def _jobs(self) -> Iterator[Metric]:
        table = self.services.table
        totals: dict[str, Any] = table.totals()
        yield _counter("leym_jobs_submitted", "Jobs accepted.", totals["submitted"])
        finished = CounterMetricFamily("leym_jobs_finished", "Jobs that ended, by their final state.", labels=["state"])
        for state in ("succeeded", "failed", "cancelled"):
            finished.add_metric([state], totals[state])
        yield finished
        yield _counter("leym_cell_steps", "Cell-steps committed.", totals["cell_steps"])
        yield _counter("leym_frames", "Frames committed.", totals["frames"])
        yield _gauge("leym_stored_bytes", "Bytes of the frames and checkpoints of all jobs.", table.stored_bytes())
        counts = table.counts()
        jobs = GaugeMetricFamily("leym_jobs", "Jobs in each state.", labels=["state"])
        for state in JobState:
            jobs.add_metric([state.value], counts.get(state, 0))
        yield jobs

        live = GaugeMetricFamily(
            "leym_jobs_live",
            "Queued and running jobs, by the fidelity standing of their precision.",
            labels=["fidelity"],
        )
        for standing, n in table.standings().items():
            live.add_metric([standing], n)
        yield live

    def _backlog(self) -> Iterator[Metric]:
        trainings = GaugeMetricFamily("leym_trainings", "Queued and running trainings.", labels=["state"])
        for state, n in self.services.table.trainings().items():
            trainings.add_metric([state], n)
        yield trainings
        backlog = self.services.table.backlog()
        yield _gauge("leym_queue_depth", "Queued jobs.", self.services.table.counts().get("queued", 0))
        yield _gauge("leym_queue_oldest_seconds", "Age of the oldest queued job.", backlog["oldest_queued_s"] or 0)
        yield _gauge(
            "leym_backlog_cell_steps", "Cell-steps left to run, of queued and running jobs.", backlog["cell_steps"]
        )
        yield _gauge(
            "leym_backlog_queued_cell_steps", "Cell-steps left to run, of queued jobs.", backlog["queued_cell_steps"]
        )

    def _workers(self) -> Iterator[Metric]:
        living = self.services.table.workers(self.services.alive_s)
        workers = [worker for worker in living if worker.kind == SIMULATION]
        yield _gauge("leym_training_workers", "Workers of trainings alive.", len(living) - len(workers))
        slots, busy = sum(w.slots for w in workers), sum(w.busy for w in workers)
        yield _gauge("leym_workers", "Workers of simulations alive.", len(workers))
        yield _gauge("leym_slots", "Batch slots of all workers.", slots)
        yield _gauge("leym_slots_busy", "Batch slots that hold a job.", busy)
        yield _gauge(
            "leym_slot_occupancy_ratio", "Busy slots divided by slots; 0 without slots.", busy / slots if slots else 0
        )
        speed = GaugeMetricFamily("leym_worker_cell_steps_per_second", "Speed of each worker.", labels=["worker"])
        for worker in workers:
            speed.add_metric([worker.name], worker.cell_steps_per_s)
        yield speed
        degraded = GaugeMetricFamily(
            "leym_worker_degraded",
            "Number of degradations that a worker reports, such as a slower kernel.",
            labels=["worker"],
        )
        for worker in workers:
            degraded.add_metric([worker.name], len(worker.info.get("degraded", ())))
        yield degraded
        roofline = GaugeMetricFamily(
            "leym_worker_roofline_ratio",
            "Share of the device's limit reached while busy: of the FLOP/s of a matrix product (compute) and of the "
            "bytes/s of a copy (memory), both measured when the worker started.",
            labels=["worker", "ceiling"],
        )
        for worker in workers:
            for ceiling in ("compute", "memory"):
                if (share := worker.info.get("roofline", {}).get(f"{ceiling}_share")) is not None:
                    roofline.add_metric([worker.name, ceiling], share)
        yield roofline
        ready = GaugeMetricFamily(
            "leym_worker_ready_seconds",
            "Time from the start of the worker's process until it was ready.",
            labels=["worker"],
        )
        for worker in workers:
            if seconds := worker.info.get("ready_s"):
                ready.add_metric([worker.name], seconds)
        yield ready
        idle = GaugeMetricFamily(
            "leym_worker_engine_idle_ratio",
            "Share of the time with universes in slots in which the engine stepped none.",
            labels=["worker"],
        )
        for worker in workers:
            if (share := worker.info.get("idle_share")) is not None:
                idle.add_metric([worker.name], share)
        yield idle

    def _latencies(self) -> Iterator[Metric]:
        found = self.services.table.latencies()
        yield _histogram(
            "leym_job_queue_wait_seconds", "Time from submission to start, of finished jobs.", found["wait"]
        )
        yield _histogram(
            "leym_quote_error_ratio",
            "Running time that a quote would have stated at the submission, divided by the measured one, of jobs that "
            "have succeeded.",
            self.services.table.quote_errors(),
        )
        yield _histogram("leym_job_duration_seconds", "Time from submission to end, of finished jobs.", found["total"])

    def _webhooks(self) -> Iterator[Metric]:
        metric = GaugeMetricFamily(
            "leym_webhook_deliveries",
            "Webhook deliveries that wait for their first attempt, are retried, or have failed in the last 30 days.",
            labels=["state"],
        )
        for state, n in self.services.table.failing_deliveries().items():
            metric.add_metric([state], n)
        yield metric


class StorageCollector:
    """Collects the free space for results; a store that is not a folder has no `leym_store_free_bytes`."""

    def __init__(self, services: Services):
        self.services = services

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the registry must not look at the disk in order to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        try:
            found = self.services.disk.state()
        except OSError as error:
            log.warning("the store's disk cannot be read, so its metrics are missing: %s", error)
            return
        if found["free_bytes"] is not None:
            yield _gauge("leym_store_free_bytes", "Free bytes in the folder of the store.", found["free_bytes"])
        yield _gauge("leym_store_admits", "0 while submissions are refused for lack of space.", found["admits"])


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value)


def _histogram(name: str, text: str, data: Any) -> Metric:
    buckets = [(upper_bound(le), n) for le, n in data["buckets"]]
    return HistogramMetricFamily(name, text, buckets, data["sum"])
