"""The client of the service: everything the REST API offers, in Python terms."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from leym.client import laws
from leym.client.errors import ProblemError, UnexpectedAnswer
from leym.client.http import Http, segment
from leym.client.job import JOB_KEYS, Job, list_jobs
from leym.client.requests import ObserveLike, RecordLike, job_body, plain, sweep_body
from leym.client.sweep import SWEEP_KEYS, Sweep
from leym.contract.spec import JobSpec
from leym.settings import clean_token, read_settings

LAW_KEYS = ("name", "digest", "provenance", "versions")


class Client:
    """A connection to the service at `url` (default: LEYM_URL), with `token` (default: LEYM_TOKEN) if it asks for one.
    Safe to share between threads; a context manager.

    Raises SettingsError for environment variables that cannot be used, and ValueError for a URL that is none or a token
    that no header can carry. Methods raise ProblemError when the service refuses, UnexpectedAnswer (one of these) when
    something else answers in its place, and ServiceUnreachable when nothing does.
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
        """Queue a universe: `submit("aurora", steps=2000, seed=7, record={"phase": 10}, observe=10)`, or a JobSpec.

        grid: (H, W) cells, or one number for a square; 64 x 64 if left out. record, observe: see
        `leym.client.requests.job_body`. Any other key of a JobSpec (seed, gamma, initial, precision, priority, tags,
        …) is a keyword. A job that starts from the state of another job (`initial={"kind": "state", …}`) inherits what
        is left out of law (the same version), grid, gamma and precision; without one, a law must be named.
        Safe against lost answers: each call has one Idempotency-Key, so a repeated request finds the first job.
        """
        body = self._body(law, grid=grid, steps=steps, record=record, observe=observe, **spec)
        return Job(self._http, self._post("/v1/jobs", body, idempotency_key, JOB_KEYS))

    def run(self, *args: Any, timeout: float | None = None, progress: bool = False, **kwargs: Any) -> Job:
        """`submit` and `wait`. Raises JobFailed, JobCancelled or TimeoutError."""
        return self.submit(*args, **kwargs).wait(timeout, progress)

    def sweep(
        self,
        law: str | JobSpec | None,
        axes: Mapping[str, Any],
        mode: str = "product",
        *,
        idempotency_key: str | None = None,
        **spec: Any,
    ) -> Sweep:
        """Queue one job per point: `sweep("aurora", {"gamma": [0, 0.01], "seed": range(10)}, steps=500)`.

        axes: per key of a JobSpec (dotted inside, `initial.strength`) its values; `product`, or `zip` of equal lengths.
        What is left out is inherited as in `submit`.
        """
        body = sweep_body(self._body(law, **spec), axes, mode)
        return Sweep(self._http, self._post("/v1/sweeps", body, idempotency_key, SWEEP_KEYS))

    def job(self, id: str) -> Job:
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
        """Jobs, newest first, page by page as they are asked for; `limit=None` for all. A tag is `key=value`."""
        filters = {"state": state, "law": law, "tag": tag, "sweep": sweep}
        return list_jobs(self._http, {key: value for key, value in filters.items() if value is not None}, limit)

    def get_sweep(self, id: str) -> Sweep:
        return Sweep(self._http, self._http.json("GET", f"/v1/sweeps/{segment(id)}", having=SWEEP_KEYS))

    def laws(self) -> list[dict[str, Any]]:
        """The laws the service knows: name, digest, architecture, d_state, …"""
        return list(self._http.json("GET", "/v1/laws", having=("items",))["items"])

    def law(self, name: str) -> dict[str, Any]:
        """One law, by `name` (its newest version) or `name@digest`."""
        return self._http.json("GET", f"/v1/laws/{segment(name, '@')}", having=LAW_KEYS)

    def add_law(self, path: str | Path, name: str | None = None, *, digest: str | None = None) -> dict[str, Any]:
        """Add a bundle, a folder with manifest.json and weights.safetensors or a zip of one, and return the law.

        name: another one than the manifest's. digest: what the service must find it to be. A name that is there
        already gets a further version, which it means from then on; `name@digest` stays what it was.
        """
        return laws.upload_bundle(self._http, Path(path), None if name is None else segment(name), digest)

    def import_law(self, path: str | Path, name: str, **said: Any) -> dict[str, Any]:
        """Add the law of a checkpoint (.pth), or of an experiment folder with config.json, and return it.

        said: architecture, d_state, hidden_channels, form, resize_antialias, where the files do not say them.
        """
        given = {key: value for key, value in said.items() if value is not None}
        return laws.upload_checkpoint(self._http, Path(path), segment(name), given)

    def judge(self, law: str, precision: str = "nf4", *, idempotency_key: str | None = None, **request: Any) -> Job:
        """Queue a judgement: does `law` in `precision` still give the same universes? Its verdict is in the job's
        record, `job.as_dict()["verdict"]`, and all of it in `verdict()`.

        request: plan ("small" or "standard"), grid, members, steps, priority, tags.
        """
        body = {"precision": precision} | request
        return Job(self._http, self._post(f"/v1/laws/{segment(law, '@')}/fidelity", body, idempotency_key, JOB_KEYS))

    def fidelity(self, law: str) -> list[dict[str, Any]]:
        """The verdicts on a law's precisions, in short."""
        return list(self._http.json("GET", f"/v1/laws/{segment(law, '@')}/fidelity", having=("items",))["items"])

    def verdict(self, law: str, precision: str = "nf4") -> dict[str, Any]:
        """One verdict with all its numbers."""
        return self._http.json("GET", self._verdict(law, precision), having=("precision", "verdict"))

    def report(self, law: str, precision: str = "nf4") -> str:
        """The same as an HTML page with plots, which needs nothing else."""
        return self._http.request("GET", self._verdict(law, precision), params={"format": "html"}).text

    def delete_law(self, name: str) -> None:
        """Remove a law with all versions, or one by `name@digest`. Refused while jobs that have not ended need it."""
        self._http.remove(f"/v1/laws/{segment(name, '@')}")

    def workers(self) -> list[dict[str, Any]]:
        return list(self._http.json("GET", "/v1/workers", having=("items",))["items"])

    def queue(self) -> dict[str, Any]:
        return self._http.json("GET", "/v1/queue", having=("jobs",))

    def upload_state(self, psi: np.ndarray) -> str:
        """Store a start state, complex [H, W, d] (sent as complex64), and return its id.

        Use it as `initial={"kind": "upload", "id": id}`. The id is the digest: the same array gives the same id.
        """
        array = np.ascontiguousarray(psi, dtype=np.complex64)
        if array.ndim != 3:
            raise ValueError(f"a state is [H, W, d]; got an array of shape {psi.shape}")
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        headers = {"Content-Type": "application/octet-stream"}
        answer = self._http.json(
            "POST", "/v1/states", having=("id",), content=file.getvalue(), headers=headers, repeatable=True
        )
        return str(answer["id"])

    def ready(self) -> bool:
        """Whether the service says it can take jobs. Raises ServiceUnreachable."""
        try:
            self._http.json("GET", "/readyz", having=("ready",), repeatable=False)
        except ProblemError as problem:
            if problem.status == 503 and not isinstance(problem, UnexpectedAnswer):
                return False
            raise
        return True

    def close(self) -> None:
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
        """A JobSpec as JSON; law and grid that are left out are those of the job that it starts from.

        The service inherits the rest, but a JobSpec must have these two.
        """
        initial = plain(spec.get("initial"))
        from_job = isinstance(initial, dict) and initial.get("kind") == "state" and isinstance(initial.get("job"), str)
        if from_job and not isinstance(law, JobSpec) and (law is None or grid is None):
            source = self.job(initial["job"])
            law, grid = law or source.law, grid or tuple(source.spec["grid"])
        if law is None:
            raise ValueError("law is required, unless the job starts from the state of another job")
        return job_body(law, grid=grid or (64, 64), **spec)

    def _verdict(self, law: str, precision: str) -> str:
        return f"/v1/laws/{segment(law, '@')}/fidelity/{segment(precision)}"

    def _post(self, path: str, body: dict[str, Any], key: str | None, having: Sequence[str]) -> dict[str, Any]:
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        return self._http.json("POST", path, having=having, json=body, headers=headers, repeatable=True)
