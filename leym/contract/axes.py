"""Axes of a sweep: the values that a key of its members takes, written out, as a range or as a distribution."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag, WithJsonSchema

from leym.contract.limits import LIMITS
from leym.contract.model import Model, Real, Whole

# Values of an axis: a sequence that computes its items, or holds them as an array.
Values = Sequence[Any] | NDArray[Any]


class SeedRange(Model):
    """The `count` consecutive seeds that begin at `start`."""

    start: Whole = Field(default=0, ge=0, le=LIMITS.seed)
    count: Whole = Field(ge=1, le=LIMITS.sweep_jobs)

    def values(self) -> Values:
        """Return the seeds, without writing them out."""
        return range(self.start, self.start + self.count)

    def at(self, u: NDArray[np.float64]) -> Values:
        """Choose a seed for each of the numbers `u` in [0, 1)."""
        return self.start + np.floor(u * self.count).astype(np.int64)


def _count(span: tuple[float, float, int]) -> tuple[float, float, int]:
    if not 1 <= span[2] <= LIMITS.sweep_jobs:
        raise ValueError(f"n = {span[2]} values; 1 to {LIMITS.sweep_jobs} are allowed")
    return span


def _positive(span: tuple[Any, ...]) -> tuple[Any, ...]:
    if min(span[:2]) <= 0:
        raise ValueError(f"the ends {span[0]:g} and {span[1]:g} must both be over 0 on a logarithmic axis")
    return span


def _increasing(span: tuple[float, float]) -> tuple[float, float]:
    if span[0] >= span[1]:
        raise ValueError(f"the lower end {span[0]:g} must be under the upper end {span[1]:g}")
    return span


# Written without prefixItems, which some readers of OpenAPI do not know.
_THREE = {"type": "array", "items": {"type": "number"}, "minItems": 3, "maxItems": 3}
_TWO = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
Span = Annotated[tuple[Real, Real, Whole], AfterValidator(_count), WithJsonSchema(_THREE)]
Pair = Annotated[tuple[Real, Real], AfterValidator(_increasing), WithJsonSchema(_TWO)]


class Linspace(Model):
    """Equally spaced values `[a, b, n]`, as `numpy.linspace`. A sampled sweep draws from the whole interval."""

    linspace: Span = Field(description="[a, b, n]: first value, last value, number of values")

    def values(self) -> Values:
        """Return the n values: float64."""
        return np.linspace(*self.linspace)

    def at(self, u: NDArray[np.float64]) -> Values:
        """Map numbers in [0, 1) to the interval [a, b)."""
        low, high, _ = self.linspace
        return low + u * (high - low)


class Logspace(Model):
    """Geometrically spaced values `[a, b, n]`, as `numpy.geomspace`. A sampled sweep draws from the whole interval."""

    logspace: Annotated[Span, AfterValidator(_positive)] = Field(
        description="[a, b, n]: first value, last value, number of values. a and b are the values themselves, both over"
        " 0, and not exponents: as numpy.geomspace, unlike numpy.logspace"
    )

    def values(self) -> Values:
        """Return the n values: float64."""
        return np.geomspace(*self.logspace)

    def at(self, u: NDArray[np.float64]) -> Values:
        """Map numbers in [0, 1) to the interval [a, b), uniformly in the logarithm."""
        low, high, _ = self.logspace
        return _geometric(low, high, u)


class Uniform(Model):
    """Numbers from the interval `[a, b)`, all equally likely. For sampled sweeps."""

    uniform: Pair = Field(description="[a, b]: lower and upper end")

    def at(self, u: NDArray[np.float64]) -> Values:
        """Map numbers in [0, 1) to the interval [a, b)."""
        low, high = self.uniform
        return low + u * (high - low)


class LogUniform(Model):
    """Numbers from the interval `[a, b)` whose logarithms are equally likely. For sampled sweeps."""

    loguniform: Annotated[Pair, AfterValidator(_positive)] = Field(
        description="[a, b]: lower and upper end, both over 0; the values themselves and not exponents"
    )

    def at(self, u: NDArray[np.float64]) -> Values:
        """Map numbers in [0, 1) to the interval [a, b), uniformly in the logarithm."""
        return _geometric(*self.loguniform, u)


class Choice(Model):
    """One of the listed values, all equally likely. For sampled sweeps, where a plain list means the same."""

    choice: list[Any] = Field(min_length=1)

    def at(self, u: NDArray[np.float64]) -> Values:
        """Choose a value for each of the numbers `u` in [0, 1)."""
        return chosen(self.choice, u)


def chosen(values: Sequence[Any], u: NDArray[np.float64]) -> list[Any]:
    """Choose one of `values` for each of the numbers `u` in [0, 1)."""
    return [values[i] for i in np.floor(u * len(values)).astype(np.int64).tolist()]


def _geometric(low: float, high: float, u: NDArray[np.float64]) -> NDArray[np.float64]:
    drawn: NDArray[np.float64] = np.exp(np.log(low) + u * (np.log(high) - np.log(low)))
    # exp(log(a)) may differ from a in the last bit, and a bound of a key must not be passed by that
    return np.clip(drawn, min(low, high), max(low, high))


_SEEDS, _LIST = "seed range", "list of values"  # tags with a space: never the name of a key
_BY_KEY: dict[str, type[Model]] = {
    "linspace": Linspace,
    "logspace": Logspace,
    "uniform": Uniform,
    "loguniform": LogUniform,
    "choice": Choice,
}


def _form(axis: Any) -> str | None:
    """Return the tag of an axis, so that a refusal names what is wrong with the form that was meant."""
    if isinstance(axis, SeedRange):
        return _SEEDS
    if isinstance(axis, dict):
        return next((key for key in _BY_KEY if key in axis), _SEEDS)
    return next((key for key, model in _BY_KEY.items() if isinstance(axis, model)), _LIST)


def _few(values: list[Any]) -> list[Any]:
    if not values:
        raise ValueError("an axis has at least one value")
    return values


Listed = Annotated[list[Any], AfterValidator(_few), Field(json_schema_extra={"minItems": 1})]
Axis = Annotated[
    Annotated[Listed, Tag(_LIST)]
    | Annotated[SeedRange, Tag(_SEEDS)]
    | Annotated[Linspace, Tag("linspace")]
    | Annotated[Logspace, Tag("logspace")]
    | Annotated[Uniform, Tag("uniform")]
    | Annotated[LogUniform, Tag("loguniform")]
    | Annotated[Choice, Tag("choice")],
    Discriminator(_form),
]
Drawn = Uniform | LogUniform | Choice  # forms for sampled sweeps only


class Sample(Model):
    """A number of members at points drawn from the axes, instead of all combinations."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sample": "latin_hypercube", "count": 100, "seed": 1}]})

    sample: Literal["random", "latin_hypercube"] = Field(
        description="`random`: every point is independent. `latin_hypercube`: each axis is divided into `count` equal"
        " parts, and every part has one member"
    )
    count: Whole = Field(ge=1, le=LIMITS.sweep_jobs, description="number of members")
    seed: Whole = Field(default=0, ge=0, le=LIMITS.seed, description="of the drawing; not the seed of a member")

    def draw(self, dimensions: int) -> NDArray[np.float64]:
        """Draw the points: float64 [count, dimensions], each coordinate in [0, 1)."""
        return _SAMPLERS[self.sample](self.count, dimensions, self.seed)


def _random(n: int, dimensions: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).random((n, dimensions))


def _latin_hypercube(n: int, dimensions: int, seed: int) -> NDArray[np.float64]:
    """Draw the points of `scipy.stats.qmc.LatinHypercube(dimensions, rng=seed).random(n)`.

    A sweep is expanded again whenever it is read, in processes without scipy too, and by later versions: its points
    must not change when scipy does.
    """
    rng = np.random.default_rng(seed).spawn(1)[0]  # as scipy does
    inside = rng.random((n, dimensions))
    parts = np.tile(np.arange(1, n + 1), (dimensions, 1))
    for part in parts:
        rng.shuffle(part)
    # scipy subtracts from the upper end of each part, and so may return 1 - 0 = 1, which [0, 1) excludes
    return np.minimum((parts.T - inside) / n, np.nextafter(1.0, 0.0))


_SAMPLERS: dict[str, Callable[[int, int, int], NDArray[np.float64]]] = {
    "random": _random,
    "latin_hypercube": _latin_hypercube,
}
