"""Prometheus metrics that the processes of the API count themselves, together (`app.shared_counters`)."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

from app import shared_counters

ANSWER_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


@dataclass(frozen=True)
class Counter:
    """A counter of all processes together, one number for each combination of the values of its labels."""

    name: str
    text: str
    labels: tuple[str, ...] = ()

    def inc(self, *values: str, by: float = 1.0) -> None:
        """Count `by`, under these values of the labels."""
        shared_counters.add((self.name, *values), by)

    def family(self, totals: dict[shared_counters.Key, float]) -> Metric:
        """Return the counts as a Prometheus metric."""
        found = CounterMetricFamily(self.name, self.text, labels=self.labels)
        numbers = {key[1:]: value for key, value in totals.items() if key[0] == self.name}
        for values, value in sorted((numbers or ({} if self.labels else {(): 0.0})).items()):
            found.add_metric(values, value)
        return found


@dataclass(frozen=True)
class Histogram:
    """A histogram of seconds of all processes together."""

    name: str
    text: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...]

    def observe(self, seconds: float, *values: str) -> None:
        """Count one duration, under these values of the labels."""
        at = bisect_left(self.bounds, seconds)
        shared_counters.add((self.name, *values, str(at)))
        shared_counters.add((self.name, *values, "sum"), seconds)

    def family(self, totals: dict[shared_counters.Key, float]) -> Metric:
        """Return the observations as a Prometheus metric."""
        found = HistogramMetricFamily(self.name, self.text, labels=self.labels)
        numbers = {key[1:]: value for key, value in totals.items() if key[0] == self.name}
        for values in sorted({key[:-1] for key in numbers}):
            buckets, total = [], 0.0
            for i, bound in enumerate((*self.bounds, None)):
                total += numbers.get((*values, str(i)), 0.0)
                buckets.append((upper_bound(bound), total))
            found.add_metric(values, buckets, numbers.get((*values, "sum"), 0.0))
        return found


REQUESTS = Counter("leym_http_requests", "Requests answered.", ("method", "route", "status"))
ANSWER_S = Histogram(
    "leym_http_request_duration_seconds",
    "From a request to the head of its answer; streams and long polls are not in it.",
    ("method", "route"),
    ANSWER_BUCKETS_S,
)
STREAMS = Counter("leym_http_streams", "Event streams opened.")
TICKETS_LEFT = Counter("leym_tickets_left", "Tickets that the broker did not take at once; the outbox sends them.")


class ProcessCollector:
    """Collects what all processes of the API have counted."""

    def describe(self) -> Iterable[Metric]:
        return []

    def collect(self) -> Iterator[Metric]:
        totals = shared_counters.totals()
        for metric in (REQUESTS, ANSWER_S, STREAMS, TICKETS_LEFT):
            yield metric.family(totals)


def register(app: Flask) -> None:
    """Count every request of `app`."""

    @app.before_request
    def begin() -> None:
        g.began = time.perf_counter()

    @app.after_request
    def count(response: Response) -> Response:
        # the rule, not the path: ids and made-up paths must not become label values
        route = request.url_rule.rule if request.url_rule else "(none)"
        method = request.method if request.method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS") else "(other)"
        REQUESTS.inc(method, route, str(response.status_code))
        began = getattr(g, "began", None)
        if began is not None and not request.args.get("wait") and not response.is_streamed:
            ANSWER_S.observe(time.perf_counter() - began, method, route)
        return response


def upper_bound(le: Any) -> str:
    return "+Inf" if le in (None, "+Inf", float("inf")) else str(float(le))
