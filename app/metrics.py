"""Prometheus metrics that the processes of the API count together, in `app.shared_counters`."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from app import shared_counters

DURATION_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@dataclass(frozen=True)
class Counter:
    """A counter over all processes, with one value per combination of label values."""

    name: str
    text: str
    labels: tuple[str, ...] = ()

    def inc(self, *values: str, by: float = 1.0) -> None:
        """Add `by` to the counter with these label values."""
        shared_counters.add((self.name, *values), by)

    def family(self, totals: dict[shared_counters.Key, float]) -> Metric:
        """Return the counter as a Prometheus metric."""
        metric = CounterMetricFamily(self.name, self.text, labels=self.labels)
        counts = {key[1:]: value for key, value in totals.items() if key[0] == self.name}
        if not counts and not self.labels:
            counts = {(): 0.0}
        for values, count in sorted(counts.items()):
            metric.add_metric(values, count)
        return metric


@dataclass(frozen=True)
class Histogram:
    """A histogram of durations over all processes, with one set of buckets per combination of label values."""

    name: str
    text: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]

    def observe(self, seconds: float, *values: str) -> None:
        """Count one duration under these label values."""
        bucket = bisect_left(self.bounds, seconds)
        shared_counters.add((self.name, *values, str(bucket)))
        shared_counters.add((self.name, *values, "sum"), seconds)

    def family(self, totals: dict[shared_counters.Key, float]) -> Metric:
        """Return the histogram as a Prometheus metric."""
        metric = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        counts = {key[1:]: value for key, value in totals.items() if key[0] == self.name}
        for values in sorted({key[:-1] for key in counts}):
            buckets, cumulative = [], 0.0
            for i, bound in enumerate((*self.bounds, None)):
                cumulative += counts.get((*values, str(i)), 0.0)
                buckets.append((upper_bound(bound), cumulative))
            metric.add_metric(values, buckets, counts.get((*values, "sum"), 0.0))
        return metric


REQUESTS = Counter("leym_http_requests", "Requests answered.", ("method", "route", "status"))
REQUEST_S = Histogram(
    "leym_http_request_duration_seconds",
    "Time from a request to the head of its response, without streams and long polls.",
    ("method", "route"),
    DURATION_BUCKETS_S,
)
STREAMS = Counter("leym_http_streams", "Event streams opened.")
TICKETS_LEFT = Counter("leym_tickets_left", "Tickets that the broker did not take at once; the outbox sends them.")


class ProcessCollector:
    """Collects the metrics that all processes of the API have counted."""

    def describe(self) -> Iterable[Metric]:
        """Return nothing: the registry must not collect in order to learn the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        totals = shared_counters.totals()
        for metric in (REQUESTS, REQUEST_S, STREAMS, TICKETS_LEFT):
            yield metric.family(totals)


METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def register(app: Flask) -> None:
    """Count every request of `app`, and how long its response takes."""

    @app.before_request
    def start_timer() -> None:
        g.began = time.perf_counter()

    @app.after_request
    def count(response: Response) -> Response:
        # the rule, not the path: ids and invented paths must not become label values
        route = request.url_rule.rule if request.url_rule else "(none)"
        method = (
            request.method
            if request.method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
            else "(other)"
        )
        REQUESTS.inc(method, route, str(response.status_code))
        began = getattr(g, "began", None)
        if began is not None and not request.args.get("wait") and not response.is_streamed:
            REQUEST_S.observe(time.perf_counter() - began, method, route)
        return response


def upper_bound(le: Any) -> str:
    """Return the upper bound of a histogram's bucket in Prometheus' notation; None is infinity."""
    return "+Inf" if le in (None, "+Inf", float("inf")) else str(float(le))
