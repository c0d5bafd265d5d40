"""Trainings: the part of the client that submits recipes of laws."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from leym.client.connection import Connection
from leym.client.job import JOB_KEYS, Job
from leym.client.requests import plain, webhook_of

Recipe = Mapping[str, Any] | str | Path


class Training(Connection):
    """The part of `Client` that trains laws."""

    def train(
        self,
        recipe: Recipe,
        name: str | None = None,
        *,
        priority: int | None = None,
        deadline_s: float | None = None,
        ttl_s: float | None = None,
        tags: Mapping[str, str] | None = None,
        webhook: str | Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> Job:
        """Queue the training of a law: `train("spirals.toml")`.

        `job.step` counts updates, `job.curve()` returns the losses so far, and `job.law` is the law, name@digest, when
        the job has succeeded. Other jobs can use it at once.

        Args:
            recipe: a recipe file, or its content.
            name: name of the law; default: the recipe's.
            priority: 0 to 9, among trainings; default: 4.
            deadline_s: seconds after which a training that has not ended fails.
            ttl_s: seconds for which the curve is kept; the law stays.
            tags: names and values, for finding the job again.
            webhook: URL to call when the training has ended.
            idempotency_key: calls with the same key submit once; default: a new key.

        Returns:
            The queued job.

        Raises:
            ProblemError: the recipe is refused; the problem names each wrong key, its value and what is expected.
            ValueError: the file is not TOML.
            OSError: the file cannot be read.
        """
        given = {
            "name": name, "priority": priority, "deadline_s": deadline_s, "ttl_s": ttl_s, "tags": tags,
            "webhook": webhook_of(webhook),
        }  # fmt: skip
        body = {"recipe": read(recipe)} | {key: plain(value) for key, value in given.items() if value is not None}
        return Job(self._http, self._post("/v1/trainings", body, idempotency_key, JOB_KEYS))


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
