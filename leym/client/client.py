"""The client of the service: the REST API as Python methods."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from leym.client import laws
from leym.client.axes import StopLike, sweep_request
from leym.client.errors import ProblemError, UnexpectedAnswer
from leym.client.http import Http, segment
from leym.client.job import JOB_KEYS, Job, list_jobs
from leym.client.quotes import Quotes
from leym.client.requests import ObserveLike, RecordLike, job_body, plain, state_file
from leym.client.sweep import SWEEP_KEYS, Sweep, list_sweeps
from leym.client.training import Training
from leym.contract.spec import JobSpec
from leym.settings import clean_token, read_settings

LAW_KEYS = ("name", "digest", "provenance", "versions")


class Client(Training, Quotes):
    """A connection to the service. Threads can share it, and `with` closes it.

    All methods raise ProblemError when the service refuses a request, UnexpectedAnswer (a ProblemError) when something
    else answers in its place, and ServiceUnreachable when nothing answers.

    Args:
        url: address of the service; default: LEYM_URL.
        token: token of the caller, for a service that asks for one; default: LEYM_TOKEN.
        timeout: seconds to wait for an answer.
        headers: more headers for every request, for example for a proxy.

    Raises:
        SettingsError: environment variables have values that cannot be used.
        ValueError: `url` is not a URL, or an HTTP header cannot carry `token` or one of `headers`.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        timeout: float = 30.0,
        headers: Mapping[str, str] | None = None,
    ):
        configured = read_settings()
        shown = configured.token if token is None else clean_token(token)
        bearer = {"Authorization": f"Bearer {shown}"} if shown else {}
        self._http = Http(url or configured.url, timeout_s=timeout, headers=bearer | dict(headers or {}))

    @property
    def url(self) -> str:
        """The address of the service, without a slash at its end."""
        return self._http.url

    def submit(
        self,
        law: str | JobSpec | None = None,
        grid: int | tuple[int, int] | None = None,
        steps: int = 1000,
        record: RecordLike = (),
        observe: ObserveLike | None = None,
        *,
        idempotency_key: str | None = None,
        **spec: Any,
    ) -> Job:
        """Queue a universe: `submit("aurora", steps=2000, seed=7, record={"phase": 10}, observe=10)`.

        A job that starts from the state of another job (`initial={"kind": "state", …}`) inherits the law (the same
        version), grid, gamma and precision that are not given. A lost answer does no harm: each call has one
        Idempotency-Key, so a repeated request finds the first job.

        Args:
            law: name or name@digest; or a JobSpec, and then all other arguments but `idempotency_key` are ignored.
            grid: (H, W) in cells, or one number for a square; default: 64 x 64.
            steps: number of steps.
            record: fields to record: `{"phase": 10}` (field: every), or a list of names, Recordings or
                `{"field", "every", "dtype"}`.
            observe: observables: every n steps (`10`), names (`["activity"]`), `True`, an Observe or
                `{"every", "names"}`.
            idempotency_key: calls with the same key submit once; default: a new key.
            **spec: any other key of a JobSpec: seed, gamma (a number or `[(from step, value), …]`),
                interventions (`[{"step": 200, "kind": "vortex", …}]`), initial, precision, priority, tags, …

        Returns:
            The queued job.

        Raises:
            ValueError: no law is given, and the job does not start from the state of another one.
        """
        body = self._body(law, grid=grid, steps=steps, record=record, observe=observe, **spec)
        return Job(self._http, self._post("/v1/jobs", body, idempotency_key, JOB_KEYS))

    def run(self, *args: Any, timeout: float | None = None, progress: bool = False, **kwargs: Any) -> Job:
        """Submit a job and wait until it has succeeded.

        Args:
            *args: positional arguments of `submit`.
            timeout: seconds to wait at most; default: no limit.
            progress: show a bar on a terminal, and a line now and then elsewhere, both on stderr.
            **kwargs: keyword arguments of `submit`.

        Returns:
            The job that has succeeded.

        Raises:
            JobFailed: the job failed.
            JobCancelled: the job was cancelled.
            TimeoutError: the job has not ended after `timeout` seconds; it goes on.
        """
        return self.submit(*args, **kwargs).wait(timeout, progress)

    def sweep(
        self,
        law: str | JobSpec | Sequence[str] | None = None,
        axes: Mapping[str, Any] | None = None,
        mode: str | Mapping[str, Any] = "product",
        *,
        stop: Iterable[StopLike] = (),
        idempotency_key: str | None = None,
        **spec: Any,
    ) -> Sweep:
        """Queue one member per point: `sweep("aurora", gamma=linspace(0, 0.05, 20), seed=range(500), steps=500)`.

        Args:
            law: as in `submit`, or a list of laws, which is an axis.
            axes: values by key of a JobSpec, for keys that are no names (`initial.strength`).
            mode: "product" for every combination, "zip" for axes of equal length side by side, or `random_points(n)`
                or `latin_hypercube(n)`.
            stop: rules that end a member early: "frozen", "collapsed", "non_finite", "cycle", or
                `{"observable": "activity", "below": 0.01, "for": 5}`.
            idempotency_key: calls with the same key submit once; default: a new key.
            **spec: all other arguments of `submit`. One that is a sequence of values (list, range, NumPy array,
                `linspace(…)`) is an axis. A grid (H, W), a schedule of gamma and lists of `record` are one value.

        Raises:
            ValueError: there is no axis, or no law and the members do not start from the state of another job.
        """
        body = sweep_request(self._body, law, axes or {}, mode, stop, spec)
        return Sweep(self._http, self._post("/v1/sweeps", body, idempotency_key, SWEEP_KEYS))

    def estimate_sweep(
        self,
        law: str | JobSpec | Sequence[str] | None = None,
        axes: Mapping[str, Any] | None = None,
        mode: str | Mapping[str, Any] = "product",
        *,
        stop: Iterable[StopLike] = (),
        **spec: Any,
    ) -> dict[str, Any]:
        """Return what a `sweep` with these arguments needs, and submit nothing: size, blocks, cell_steps, bytes."""
        body = sweep_request(self._body, law, axes or {}, mode, stop, spec)
        return self._http.json("POST", "/v1/sweeps", having=("cell_steps",), params={"dry_run": "true"}, json=body)

    def job(self, id: str) -> Job:
        """Return a job by its id.

        Raises:
            ProblemError: there is no such job.
            ValueError: `id` is empty, "." or "..".
        """
        return Job(self._http, self._http.json("GET", f"/v1/jobs/{segment(id)}", having=JOB_KEYS))

    def jobs(
        self,
        *,
        state: str | None = None,
        law: str | None = None,
        tag: str | None = None,
        sweep: str | None = None,
        limit: int | None = 50,
    ) -> Iterator[Job]:
        """Yield jobs, newest first; a page is requested when the iteration reaches it.

        Args:
            state: only jobs in this state.
            law: only jobs of this law, by name or name@digest.
            tag: only jobs with this tag, as `key=value`.
            sweep: only jobs of the sweep with this id.
            limit: number of jobs at most; None for all.
        """
        filters = {"state": state, "law": law, "tag": tag, "sweep": sweep}
        return list_jobs(self._http, {key: value for key, value in filters.items() if value is not None}, limit)

    def get_sweep(self, id: str) -> Sweep:
        """Return a sweep by its id. Raises ProblemError if there is none, ValueError if `id` is empty, "." or ".."."""
        return Sweep(self._http, self._http.json("GET", f"/v1/sweeps/{segment(id)}", having=SWEEP_KEYS))

    def sweeps(self, limit: int | None = 50) -> Iterator[Sweep]:
        """Yield sweeps, newest first, `limit` at most or all if None; pages are requested one by one."""
        return list_sweeps(self._http, limit)

    def laws(self) -> list[dict[str, Any]]:
        """List the laws of the service: name, digest, architecture, d_state and more of each."""
        return list(self._http.json("GET", "/v1/laws", having=("items",))["items"])

    def law(self, name: str) -> dict[str, Any]:
        """Describe one law, by `name` (its newest version) or `name@digest`."""
        return self._http.json("GET", f"/v1/laws/{segment(name, '@')}", having=LAW_KEYS)

    def add_law(self, path: str | Path, name: str | None = None, *, digest: str | None = None) -> dict[str, Any]:
        """Add a bundle to the laws of the service.

        If the service has a law of that name, the bundle becomes a further version: the name means the new version from
        then on, and `name@digest` still means the old one.

        Args:
            path: a folder with manifest.json and weights.safetensors, or a zip of one.
            name: name of the law; default: the name in the manifest.
            digest: digest that the bundle must have; the service refuses a different one.

        Returns:
            The law as in `law`.

        Raises:
            ValueError: `path` is not a bundle, or its manifest has no usable name.
        """
        return laws.upload_bundle(self._http, Path(path), None if name is None else segment(name), digest)

    def import_law(self, path: str | Path, name: str, **hints: Any) -> dict[str, Any]:
        """Add the law of a training checkpoint to the laws of the service.

        Args:
            path: a checkpoint (.pth), or an experiment folder with config.json.
            name: name of the law.
            **hints: architecture, d_state, hidden_channels, form or resize_antialias, if the files do not contain them.

        Returns:
            The law as in `law`; its provenance names the parts of the checkpoint that were skipped.

        Raises:
            ValueError: there is no checkpoint at `path`.
        """
        given = {key: value for key, value in hints.items() if value is not None}
        return laws.upload_checkpoint(self._http, Path(path), segment(name), given)

    def judge(self, law: str, precision: str = "nf4", *, idempotency_key: str | None = None, **request: Any) -> Job:
        """Queue a judgement: does `law` in `precision` still give the same universes?

        When the job has ended, `job.as_dict()["verdict"]` is its verdict, and `verdict()` returns all numbers.

        Args:
            law: name or name@digest.
            precision: "nf4", "int8" or "bf16".
            idempotency_key: calls with the same key submit once; default: a new key.
            **request: plan ("small" or "standard"), grid, members, steps, priority or tags.

        Returns:
            The queued job.
        """
        body = {"precision": precision} | request
        return Job(self._http, self._post(f"/v1/laws/{segment(law, '@')}/fidelity", body, idempotency_key, JOB_KEYS))

    def fidelity(self, law: str) -> list[dict[str, Any]]:
        """List the verdicts on the precisions of a law, without their numbers."""
        return list(self._http.json("GET", f"/v1/laws/{segment(law, '@')}/fidelity", having=("items",))["items"])

    def verdict(self, law: str, precision: str = "nf4") -> dict[str, Any]:
        """Return the verdict on one precision of a law with all its numbers."""
        return self._http.json("GET", laws.verdict_path(law, precision), having=("precision", "verdict"))

    def report(self, law: str, precision: str = "nf4") -> str:
        """Return the verdict on one precision of a law as an HTML page with plots, complete in one file."""
        return self._http.request("GET", laws.verdict_path(law, precision), params={"format": "html"}).text

    def delete_law(self, name: str) -> None:
        """Remove a law with all its versions, or one version by `name@digest`.

        Raises:
            ProblemError: there is no such law, or jobs that have not ended need it.
        """
        self._http.remove(f"/v1/laws/{segment(name, '@')}")

    def workers(self) -> list[dict[str, Any]]:
        """List the workers that are alive: state, device, slots and busy slots of each."""
        return list(self._http.json("GET", "/v1/workers", having=("items",))["items"])

    def queue(self) -> dict[str, Any]:
        """Return the backlog: waiting and running jobs, and cell-steps per law, precision and grid."""
        return self._http.json("GET", "/v1/queue", having=("jobs",))

    def upload_state(self, psi: np.ndarray) -> str:
        """Store a start state, for `initial={"kind": "upload", "id": id}`.

        Args:
            psi: complex array [H, W, d]; it is sent as complex64.

        Returns:
            The id of the state. It is the digest of the array, so the same array gets the same id.

        Raises:
            ValueError: `psi` does not have three dimensions.
        """
        headers = {"Content-Type": "application/octet-stream"}
        answer = self._http.json(
            "POST", "/v1/states", having=("id",), content=state_file(psi), headers=headers, repeatable=True
        )
        return str(answer["id"])

    def ready(self) -> bool:
        """Return True if the service can take jobs, and False if it answers that it cannot."""
        try:
            self._http.json("GET", "/readyz", having=("ready",), repeatable=False)
        except ProblemError as problem:
            if problem.status == 503 and not isinstance(problem, UnexpectedAnswer):
                return False
            raise
        return True

    def close(self) -> None:
        """Close the connections. The client cannot be used afterwards."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client {self._http.shown}>"

    def _body(
        self, law: str | JobSpec | None, grid: int | tuple[int, int] | None = None, **spec: Any
    ) -> dict[str, Any]:
        """Return a JobSpec as JSON, with the law and the grid of the job it starts from if they are not given.

        A JobSpec must have these two; the service adds the other keys that are inherited.
        """
        initial = plain(spec.get("initial"))
        kind, job = (initial.get("kind"), initial.get("job")) if isinstance(initial, dict) else (None, None)
        missing = not isinstance(law, JobSpec) and (law is None or grid is None)
        if missing and kind in ("state", "continue") and isinstance(job, str):
            source = self.job(job)
            law, grid = law or source.law, grid or tuple(source.spec["grid"])
        if law is None:
            raise ValueError("law is required, unless the job starts from the state of another job")
        return job_body(law, grid=grid or (64, 64), **spec)

    def _post(self, path: str, body: dict[str, Any], key: str | None, having: Sequence[str]) -> dict[str, Any]:
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        return self._http.json("POST", path, having=having, json=body, headers=headers, repeatable=True)
