"""The client of the service: the REST API as Python methods."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from leym.client import laws
from leym.client.activity import Activity
from leym.client.errors import ProblemError, UnexpectedAnswer
from leym.client.http import segment
from leym.client.job import JOB_KEYS, Job, list_jobs
from leym.client.requests import plain, sides_of, state_file, webhook_of
from leym.client.submissions import Submissions
from leym.client.sweep import SWEEP_KEYS, Sweep, list_sweeps
from leym.client.sweep_submissions import SweepSubmissions
from leym.client.training import Training

LAW_KEYS = ("name", "digest", "provenance", "versions")


class Client(Submissions, SweepSubmissions, Training, Activity):
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

    def job(self, id: str) -> Job:
        """Return a job by its id.

        Raises:
            ProblemError: there is no such job.
            ValueError: `id` is empty, "." or "..".
        """
        return Job.of(self._http, id)

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
        return laws.LawTable(self._http.json("GET", "/v1/laws", having=("items",))["items"])

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

    def import_law(
        self,
        path: str | Path,
        name: str,
        *,
        architecture: str | None = None,
        d_state: int | None = None,
        hidden_channels: int | None = None,
        form: str | None = None,
        resize_antialias: bool | None = None,
    ) -> dict[str, Any]:
        """Add the law of a training checkpoint to the laws of the service.

        Args:
            path: a checkpoint (.pth), or an experiment folder with config.json.
            name: name of the law.
            architecture: architecture, if neither config nor weights name it.
            d_state: complex channels per cell, if the files do not contain them.
            hidden_channels: width of the network, if the files do not contain it.
            form: form of the update, if the files do not contain it: additive, diagonal or antisymmetric.
            resize_antialias: resize with antialiasing, which an SNN_UNET needs to know.

        Returns:
            The law as in `law`; its provenance names the parts of the checkpoint that were skipped.

        Raises:
            ValueError: there is no checkpoint at `path`.
        """
        hints = {
            "architecture": architecture,
            "d_state": d_state,
            "hidden_channels": hidden_channels,
            "form": form,
            "resize_antialias": resize_antialias,
        }
        given = {key: value for key, value in hints.items() if value is not None}
        return laws.upload_checkpoint(self._http, Path(path), segment(name), given)

    def judge(
        self,
        law: str,
        precision: Literal["nf4", "int8", "bf16"] = "nf4",
        *,
        plan: Literal["small", "standard"] | None = None,
        grid: int | tuple[int, int] | None = None,
        members: int | None = None,
        steps: int | None = None,
        priority: int | None = None,
        deadline_s: float | None = None,
        tags: Mapping[str, str] | None = None,
        webhook: str | Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue a judgement: does `law` in `precision` still give the same universes?

        When the job has ended, `job.as_dict()["verdict"]` is its verdict, and `verdict()` returns all numbers.

        Args:
            law: name or name@digest.
            precision: "nf4", "int8" or "bf16".
            plan: "small", the default, or "standard".
            grid: (H, W) in cells, or one number for a square; default: the plan's.
            members: universes per ensemble; default: decided by a pilot.
            steps: steps of each universe; default: the plan's.
            priority: 0 to 9; default: 2.
            deadline_s: seconds after which a job that has not ended fails.
            tags: names and values, for finding the job again.
            webhook: URL to call when the job has ended.
            idempotency_key: calls with the same key submit once; default: a new key.

        Returns:
            The queued job.
        """
        given = {
            "plan": plan, "grid": None if grid is None else sides_of(grid), "members": members, "steps": steps,
            "priority": priority, "deadline_s": deadline_s, "tags": tags, "webhook": webhook_of(webhook),
        }  # fmt: skip
        body = {"precision": precision} | {key: plain(value) for key, value in given.items() if value is not None}
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
