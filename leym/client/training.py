"""Trainings: the part of the client that submits recipes of laws."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from leym.client.http import Http
from leym.client.job import JOB_KEYS, Job

Recipe = Mapping[str, Any] | str | Path


class Training:
    """The part of `Client` that trains laws."""

    _http: Http

    def train(
        self, recipe: Recipe, name: str | None = None, *, idempotency_key: str | None = None, **request: Any
    ) -> Job:
        """Queue the training of a law: `train("spirals.toml")`.

        `job.step` counts updates, `job.curve()` returns the losses so far, and `job.law` is the law, name@digest, when
        the job has succeeded. Other jobs can use it at once.

        Args:
            recipe: a recipe file, or its content.
            name: name of the law; default: the recipe's.
            idempotency_key: calls with the same key submit once; default: a new key.
            **request: priority, deadline_s, ttl_s or tags.

        Returns:
            The queued job.

        Raises:
            ProblemError: the recipe is refused; the problem names each wrong key, its value and what is expected.
            ValueError: the file is not TOML.
            OSError: the file cannot be read.
        """
        body = {"recipe": read(recipe)} | ({} if name is None else {"name": name}) | request
        return Job(self._http, self._post("/v1/trainings", body, idempotency_key, JOB_KEYS))

    def _post(self, path: str, body: dict[str, Any], key: str | None, having: Sequence[str]) -> dict[str, Any]:
        raise NotImplementedError


def read(recipe: Recipe) -> dict[str, Any]:
    """Return the content of a recipe.

    Raises:
        ValueError: the file is not TOML.
        OSError: the file cannot be read.
    """
    if isinstance(recipe, Mapping):
        return dict(recipe)
    try:
        return tomllib.loads(Path(recipe).read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{recipe}: not a TOML file: {error}") from None
