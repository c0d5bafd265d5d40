"""Answers a scrape: the counts of the API's processes, and the state of the service, read from the job table."""

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
from leym.contract.records import JobState

log = logging.getLogger(__name__)

ALIVE_HEARTBEATS = 5  # a worker silent for so many heartbeats is not counted


def exposition(services: Services) -> Response:
    """All metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    for collector in (ProcessCollector(), TableCollector(services), StorageCollector(services)):
        registry.register(collector)
    return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


class TableCollector:
    """The service as the job table sees it. An unreachable table is a metric too, not a failed scrape."""

    def __init__(self, services: Services):
        self.services = services

    def describe(self) -> Iterable[Metric]:
        return []  # or registering would already read the table

    def collect(self) -> Iterator[Metric]:
        try:
            found = [*self._jobs(), *self._backlog(), *self._workers(), *self._latencies()]
        except SQLAlchemyError as error:
            log.warning("no metrics of the job table: %s", error)
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
        yield _gauge("leym_stored_bytes", "What frames and checkpoints of all jobs take.", table.stored_bytes())
        counts = table.counts()
        jobs = GaugeMetricFamily("leym_jobs", "Jobs in each state.", labels=["state"])
        for state in JobState:
            jobs.add_metric([state.value], counts.get(state, 0))
        yield jobs

        live = GaugeMetricFamily("leym_jobs_live", "Jobs that wait or run, by their fidelity.", labels=["fidelity"])
        for standing, n in table.standings().items():
            live.add_metric([standing], n)
        yield live

    def _backlog(self) -> Iterator[Metric]:
        backlog = self.services.table.backlog()
        yield _gauge("leym_queue_depth", "Jobs that wait for a worker.", self.services.table.counts().get("queued", 0))
        yield _gauge("leym_queue_oldest_seconds", "Age of the oldest queued job.", backlog["oldest_queued_s"] or 0)
        yield _gauge("leym_backlog_cell_steps", "Cell-steps left, queued and running.", backlog["cell_steps"])
        yield _gauge("leym_backlog_queued_cell_steps", "Cell-steps of queued jobs.", backlog["queued_cell_steps"])

    def _workers(self) -> Iterator[Metric]:
        workers = self.services.table.workers(alive_s(self.services))
        slots, busy = sum(w.slots for w in workers), sum(w.busy for w in workers)
        yield _gauge("leym_workers", "Workers alive.", len(workers))
        yield _gauge("leym_slots", "Batch slots of all workers.", slots)
        yield _gauge("leym_slots_busy", "Batch slots with a job in them.", busy)
        yield _gauge("leym_slot_occupancy_ratio", "Busy slots over slots; 0 without any.", busy / slots if slots else 0)
        speed = GaugeMetricFamily("leym_worker_cell_steps_per_second", "Speed of each worker.", labels=["worker"])
        for worker in workers:
            speed.add_metric([worker.name], worker.cell_steps_per_s)
        yield speed
        degraded = GaugeMetricFamily(
            "leym_worker_degraded", "What a worker has said it does worse than it should.", labels=["worker"]
        )
        for worker in workers:
            degraded.add_metric([worker.name], len(worker.info.get("degraded", ())))
        yield degraded
        roofline = GaugeMetricFamily(
            "leym_worker_roofline_ratio",
            "Of the FLOP/s of a matrix product, and of the bytes/s of a copy, measured when the worker started; what "
            "it reached while it was busy.",
            labels=["worker", "ceiling"],
        )
        for worker in workers:
            for ceiling in ("compute", "memory"):
                if (share := worker.info.get("roofline", {}).get(f"{ceiling}_share")) is not None:
                    roofline.add_metric([worker.name, ceiling], share)
        yield roofline
        ready = GaugeMetricFamily(
            "leym_worker_ready_seconds", "From the start of the worker's process until it served.", labels=["worker"]
        )
        for worker in workers:
            if seconds := worker.info.get("ready_s"):
                ready.add_metric([worker.name], seconds)
        yield ready
        idle = GaugeMetricFamily(
            "leym_worker_engine_idle_ratio",
            "Of the time with universes in slots: the share in which none was stepped.",
            labels=["worker"],
        )
        for worker in workers:
            if (share := worker.info.get("idle_share")) is not None:
                idle.add_metric([worker.name], share)
        yield idle

    def _latencies(self) -> Iterator[Metric]:
        found = self.services.table.latencies()
        yield _histogram("leym_job_queue_wait_seconds", "From submission to start, of finished jobs.", found["wait"])
        yield _histogram("leym_job_duration_seconds", "From submission to end, of finished jobs.", found["total"])


class StorageCollector:
    """Room for results; no free bytes of a store that is no folder."""

    def __init__(self, services: Services):
        self.services = services

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        try:
            found = self.services.disk.state()
        except OSError as error:
            log.warning("no metrics of the store's disk: %s", error)
            return
        if found["free_bytes"] is not None:
            yield _gauge("leym_store_free_bytes", "Bytes free where the store has its files.", found["free_bytes"])
        yield _gauge("leym_store_admits", "0 while submissions are refused for want of room.", found["admits"])


def alive_s(services: Services) -> float:
    return services.settings.heartbeat_s * ALIVE_HEARTBEATS


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value)


def _histogram(name: str, text: str, data: Any) -> Metric:
    buckets = [(upper_bound(le), n) for le, n in data["buckets"]]
    return HistogramMetricFamily(name, text, buckets, data["sum"])
