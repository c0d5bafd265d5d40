"""Reads the recipe of a training: a TOML file that says what is trained, towards what, and how. Torch-free.

name = "spirals"
description = "rotating spiral waves"

[law]
architecture = "NCA"
d_state = 1
hidden_channels = 48
options = { padding = "periodic" }

[objective]
kind = "teacher"
teacher = "kuramoto"

[train]
updates = 4000
grid = [32, 32]
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from leym.contract.initial import WholeStart
from leym.laws.architectures import architectures
from leym.laws.bundle import NAME, Manifest
from leym.physics.constraint import Constraint, Living
from leym.training.objective_settings import ObjectiveSettings
from leym.training.section import Section


class LawSection(Section):
    """Describes the law as its manifest will; see `leym.laws.bundle.Manifest`.

    Attributes:
        architecture: Name of an architecture.
        d_state: Complex channels of a cell.
        hidden_channels: Width of the network.
        form: How the output becomes the update; default: that of the architecture.
        options: Choices of the architecture.
        constraint: "unit", "none" or {"box": [low, high]}: what the step does to a cell at its end.
        living: Living mask, {"channel": …, "above": …}; None for none.
        start: Start state of jobs that name none, as the `initial` of a JobSpec; None for that of laws of this kind.
        head: "zero": the last layer starts with zeros, so the law starts as the identity (without damping);
            "default": with PyTorch's random weights.
        gain: Factor on the first random weights, biases apart. A network of thresholds needs about 3 to spike at all.
    """

    architecture: str
    d_state: int = Field(ge=1, le=256)
    hidden_channels: int = Field(ge=1, le=4096)
    form: Literal["additive", "diagonal", "antisymmetric"] | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    constraint: Constraint = "unit"
    living: Living | None = None
    start: WholeStart = None
    head: Literal["zero", "default"] = "zero"
    gain: float = Field(default=1.0, gt=0, le=100)


class TrainSection(Section):
    """Settings of the loop.

    Attributes:
        seed: Decides every random number.
        updates: Optimiser steps.
        batch: Universes per update.
        grid: H and W in cells.
        horizon: Law steps per update: a number, or two of which `horizon_choice` makes one per update.
        horizon_choice: "ramp": from the first number to the second over the training; "random": uniform between them.
        learning_rate: Of the optimiser, after the warm-up.
        schedule: "cosine": down to a hundredth of the learning rate at the end; "constant".
        warm_up: Updates over which the learning rate rises from 0.
        clip: Largest norm of the gradient.
        weight_decay: Of AdamW.
        precision: "bf16": products in bfloat16, weights, states and optimiser in float32; "fp32".
        pool: Universes that are kept between updates.
        restart: Universes of a batch that begin anew in each update, those with the highest loss.
        damage: Probability that a disc of a universe is destroyed before an update.
        damage_radius: Smallest and largest radius of the disc, as shares of the grid's shorter side.
        gamma: Damping per step.
        checkpoint_every: Updates between two checkpoints.
        compile: Compile the law's step.
        checkpoint_gradients: Keep only the states of a rollout in memory and compute each step again on the way back.
        log_every: Updates that one row of the curve averages.
    """

    seed: int = Field(default=0, ge=0, lt=2**63)
    updates: int = Field(default=2000, ge=1, le=10_000_000)
    batch: int = Field(default=8, ge=1, le=1024)
    grid: Annotated[list[Annotated[int, Field(ge=4, le=1024)]], Field(min_length=2, max_length=2)] = [32, 32]
    horizon: Annotated[int, Field(ge=1, le=1024)] | list[Annotated[int, Field(ge=1, le=1024)]] = 8
    horizon_choice: Literal["ramp", "random"] = "ramp"
    learning_rate: float = Field(default=2e-3, gt=0, le=1)
    schedule: Literal["cosine", "constant"] = "cosine"
    warm_up: int = Field(default=50, ge=0)
    clip: float = Field(default=1.0, gt=0)
    weight_decay: float = Field(default=0.0, ge=0, le=1)
    precision: Literal["bf16", "fp32"] = "fp32"
    pool: int = Field(default=256, ge=1, le=1_000_000)
    restart: int = Field(default=1, ge=0)
    damage: float = Field(default=0.0, ge=0, le=1)
    damage_radius: Annotated[list[Annotated[float, Field(gt=0, le=1)]], Field(min_length=2, max_length=2)] = [0.1, 0.25]
    gamma: float = Field(default=0.0, ge=0, le=1)
    checkpoint_every: int = Field(default=500, ge=1)
    compile: bool = False
    checkpoint_gradients: bool = False
    log_every: int = Field(default=10, ge=1)

    @field_validator("horizon", "damage_radius")
    @classmethod
    def _is_range(cls, value: Any) -> Any:
        if isinstance(value, list) and (len(value) != 2 or value[0] > value[1]):
            raise ValueError("two numbers are needed, the smaller one first")
        return value

    @model_validator(mode="after")
    def _fits(self) -> TrainSection:
        if self.restart > self.batch:
            raise ValueError(f"restart = {self.restart}: at most batch = {self.batch}")
        if self.pool < self.batch:
            raise ValueError(f"pool = {self.pool}: at least batch = {self.batch}")
        return self

    @property
    def horizons(self) -> tuple[int, int]:
        """The shortest and the longest rollout."""
        return (self.horizon, self.horizon) if isinstance(self.horizon, int) else (self.horizon[0], self.horizon[1])


class Recipe(Section):
    """A whole recipe.

    Attributes:
        name: Name of the law.
        description: One line for people.
        law: What is trained.
        objective: Towards what; `kind` chooses the objective, the other keys are that kind's own.
        train: How.
    """

    name: str = Field(pattern=NAME)
    description: str = ""
    law: LawSection
    objective: ObjectiveSettings
    train: TrainSection = Field(default_factory=TrainSection)

    @model_validator(mode="after")
    def _makes_a_law(self) -> Recipe:
        """Check the law by making its manifest, and the grid by the law."""
        manifest = self.manifest()
        if any(side % manifest.grid_multiple for side in self.train.grid):
            raise ValueError(
                f"train.grid = {self.train.grid}: {manifest.architecture} needs multiples of {manifest.grid_multiple}"
            )
        return self

    def manifest(self, provenance: dict[str, Any] | None = None) -> Manifest:
        """Return the manifest of the law, with this provenance.

        Raises:
            ValueError: the architecture, its form, options, constraint or living mask are not valid.
        """
        law = self.law
        fields: dict[str, Any] = {
            "name": self.name,
            "description": self.description,
            "architecture": law.architecture,
            "d_state": law.d_state,
            "hidden_channels": law.hidden_channels,
            "options": law.options,
            "constraint": law.constraint,
            "living": law.living,
            "start": law.start,
            "provenance": provenance or {},
        }
        known = architectures().get(law.architecture)
        fields["form"] = law.form or (known.form if known else "additive")
        try:
            return Manifest.model_validate(fields)
        except ValidationError as error:
            raise ValueError(sentences(error, "law")) from None

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data, without defaults: what the provenance of its law holds."""
        return self.model_dump(mode="json", exclude_defaults=True)

    @property
    def digest(self) -> str:
        """sha256 of everything that decides the weights: all but name and description, defaults included."""
        plain = self.model_dump(mode="json", exclude={"name", "description"})
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def read_recipe(path: Path, **train: Any) -> Recipe:
    """Read a recipe from a TOML file.

    Args:
        path: The file.
        train: Values that replace those of its section `train`.

    Raises:
        ValueError: the file is not TOML or not a recipe; the text names every key that is wrong, its value and what is
            expected.
        OSError: the file cannot be read.
    """
    try:
        plain = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a TOML file: {error}") from None
    if train:
        plain["train"] = {**plain.get("train", {}), **train}
    try:
        return Recipe.model_validate(plain)
    except ValidationError as error:
        raise ValueError(f"{path}: {sentences(error)}") from None


def sentences(error: ValidationError, within: str = "") -> str:
    """Return one clause per wrong key: its path, its value and what is expected."""
    found = []
    for one in error.errors(include_url=False):
        at = ".".join(str(part) for part in one["loc"])
        key = ".".join(part for part in (within, at) if part)
        message = one["msg"].removeprefix("Value error, ")
        shown = f" = {one['input']!r}"[:100] if one["type"] not in ("missing", "value_error") else ""
        found.append(f"{key}{shown}: {message}" if key else message)
    return "; ".join(found)
