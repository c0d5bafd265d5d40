"""Quotes: what a job or a sweep would take, before it is submitted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from leym.client.axes import StopLike, sweep_request
from leym.client.http import Http
from leym.client.requests import ObserveLike, RecordLike
from leym.contract.spec import JobSpec


class Quotes:
    """Part of `Client`."""

    _http: Http

    def quote(
        self,
        law: str | JobSpec | None = None,
        grid: int | tuple[int, int] | None = None,
        steps: int = 1000,
        record: RecordLike = (),
        observe: ObserveLike | None = None,
        **spec: Any,
    ) -> dict[str, Any]:
        """Return what a `submit` with these arguments would take, and submit nothing.

        Returns:
            `wait_s`, `run_s`, `start_at`, `finish_at`, `steps_per_s`, `device_seconds` and `cost`, each with the median
            `p50` and the value `p90` that nine of ten jobs keep, or None where that is not known; `members`,
            `cell_steps` and `bytes`; `basis`, the jobs that it was compared with; `reason`, why something is not known.
        """
        body = self._body(law, grid=grid, steps=steps, record=record, observe=observe, **spec)
        return self._http.json("POST", "/v1/quotes", having=("cell_steps",), json={"job": body})

    def quote_sweep(
        self,
        law: str | JobSpec | Sequence[str] | None = None,
        axes: Mapping[str, Any] | None = None,
        mode: str | Mapping[str, Any] = "product",
        *,
        stop: Iterable[StopLike] = (),
        **spec: Any,
    ) -> dict[str, Any]:
        """Return what a `sweep` with these arguments would take, as `quote` does, and submit nothing."""
        body = sweep_request(self._body, law, axes or {}, mode, stop, spec)
        return self._http.json("POST", "/v1/quotes", having=("cell_steps",), json={"sweep": body})

    def _body(self, law: str | JobSpec | None, *, grid: int | tuple[int, int] | None, **spec: Any) -> dict[str, Any]:
        raise NotImplementedError
