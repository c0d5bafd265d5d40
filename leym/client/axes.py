"""Axes of a sweep: helpers for ranges of values, and which arguments of `Client.sweep` are axes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from leym.client.requests import GammaLike, InitialLike, plain, with_kind

FORMS = ("linspace", "logspace", "uniform", "loguniform", "choice")  # keys of an axis that is not a list
# Keys of a JobSpec that are lists or mappings themselves; they vary in the argument `axes` only.
NEVER = frozenset({"record", "observe", "interventions", "keep_states", "tags", "webhook"})

StopLike = str | Mapping[str, Any]
Mode = Literal["product", "zip"] | Mapping[str, Any]  # of `random_points` and `latin_hypercube`, if it is a mapping
Values = Mapping[str, Any] | np.ndarray  # `linspace(…)`, or an array
VariedInt = int | Sequence[int] | Values
VariedText = str | Sequence[str] | Values
VariedNumber = GammaLike | Sequence[float] | Sequence[GammaLike] | Values
VariedInitial = InitialLike | Sequence[InitialLike]
GridAxis = int | tuple[int, int] | Sequence[tuple[int, int]] | np.ndarray


class Axis(dict[str, Any]):
    """Values of an axis in a short form; the service expands it."""


def linspace(first: float, last: float, count: int) -> dict[str, Any]:
    """Return `count` equally spaced values, both ends included."""
    return Axis(linspace=[plain(first), plain(last), plain(count)])


def logspace(first: float, last: float, count: int) -> dict[str, Any]:
    """Return `count` geometrically spaced values between two positive ones, as numpy.geomspace, both ends included."""
    return Axis(logspace=[plain(first), plain(last), plain(count)])


def uniform(low: float, high: float) -> dict[str, Any]:
    """Return the interval [low, high) to draw from; for the modes `random_points` and `latin_hypercube`."""
    return Axis(uniform=[plain(low), plain(high)])


def loguniform(low: float, high: float) -> dict[str, Any]:
    """Return the interval [low, high) to draw from, evenly on a logarithmic scale; for the same modes as `uniform`."""
    return Axis(loguniform=[plain(low), plain(high)])


def choice(values: Iterable[Any]) -> dict[str, Any]:
    """Return values to draw from, each as likely as the others; for the same modes as `uniform`."""
    return Axis(choice=plain(list(values)))


def random_points(count: int, seed: int = 0) -> dict[str, Any]:
    """Return the mode that draws `count` independent points from the axes."""
    return {"sample": "random", "count": count, "seed": seed}


def latin_hypercube(count: int, seed: int = 0) -> dict[str, Any]:
    """Return the mode that draws `count` points with one in each of `count` equal parts of every axis."""
    return {"sample": "latin_hypercube", "count": count, "seed": seed}


def sweep_body(
    base: dict[str, Any], axes: Mapping[str, Any], mode: str | Mapping[str, Any], stop: Iterable[StopLike] = ()
) -> dict[str, Any]:
    """Make the JSON of a SweepSpec. An axis is a sequence, an array, a form of this module, or a range."""
    rules = [{"when": rule} if isinstance(rule, str) else plain(rule) for rule in stop]
    body = {"base": base, "axes": {key: axis_body(values) for key, values in axes.items()}, "mode": plain(mode)}
    return body | ({"stop": rules} if rules else {})


def sweep_request(
    job: Callable[..., dict[str, Any]],
    law: Any,
    axes: Mapping[str, Any],
    mode: str | Mapping[str, Any],
    stop: Iterable[StopLike],
    spec: Mapping[str, Any],
) -> dict[str, Any]:
    """Make the JSON of a SweepSpec from the arguments of `Client.sweep`; `job` makes that of its base."""
    base, varied = split_axes(spec if law is None else {"law": law, **spec}, axes)
    if "law" not in base and "law" in varied:
        base["law"] = next(iter(varied["law"]))
    within = [key.removeprefix("initial.") for key in varied if key.startswith("initial.")]
    if within and "initial" not in base and (kind := with_kind({}, within)):
        base["initial"] = kind
    return sweep_body(job(base.pop("law", None), **base), varied, mode, stop)


def more_members(axes: Mapping[str, Any], mode: str | Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Make the JSON of a request for more members from the arguments of `Sweep.add`.

    Raises:
        ValueError: there is no axis, an axis is given twice, or one of `values` is not a sequence of values.
    """
    single, varied = split_axes(values, axes)
    if single:
        key = next(iter(single))
        raise ValueError(
            f"{key} = {single[key]!r} is one value, but added members have the base of the sweep; {key}=[…] is an axis"
        )
    return {"axes": {key: axis_body(values) for key, values in varied.items()}, "mode": plain(mode)}


def axis_body(values: Any) -> Any:
    """Return the JSON of an axis; consecutive whole numbers become their start and their count."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu" and values.ndim == 1 and len(values) > 1:
        first = int(values[0])
        if np.array_equal(values, np.arange(first, first + len(values))):
            values = range(first, first + len(values))
    if isinstance(values, range) and values.step == 1 and values.start >= 0 and len(values):
        return {"start": values.start, "count": len(values)}
    return plain(values) if isinstance(values, Mapping) else plain(list(values))


def split_axes(arguments: Mapping[str, Any], axes: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divide arguments of `Client.sweep` into those of the base job and the axes, which also contain `axes`.

    Args:
        arguments: values by key of a JobSpec; sequences are axes, as `is_axis` says. A mapping such as `initial` may
            hold axes too: `{"kind": "complex_noise", "strength": linspace(0, 1, 5)}`.
        axes: axes by key.

    Raises:
        ValueError: a key is given in both, or there is no axis.
    """
    base: dict[str, Any] = {}
    found = dict(axes)

    def add(key: str, values: Any) -> None:
        if key in found:
            raise ValueError(f"axis {key!r} is given twice: as an argument and in `axes`")
        found[key] = values

    for key, value in arguments.items():
        if is_axis(key, value):
            add(key, value)
        elif key == "initial" and isinstance(value, Mapping):
            inside = [name for name, item in value.items() if is_axis(f"{key}.{name}", item)]
            for name in inside:
                add(f"{key}.{name}", value[name])
            if rest := {name: item for name, item in value.items() if name not in inside}:
                base[key] = with_kind(rest, inside)
        elif "." in key:
            raise ValueError(f"{key!r} with a dot is the key of an axis, whose values are a sequence; got {value!r}")
        else:
            base[key] = value
    if not found:
        raise ValueError("a sweep needs an axis: a sequence of values for a key, such as seed=range(10)")
    return base, found


def is_axis(key: str, value: Any) -> bool:
    """Return True if an argument is a sequence of values of its key, and not one value.

    One value are: what belongs to a key of NEVER, text, a grid (H, W), and a schedule of gamma, whose items are pairs.
    """
    if key in NEVER:
        return False
    if isinstance(value, Axis | range):
        return True
    if isinstance(value, Mapping):
        return len(value) == 1 and next(iter(value)) in FORMS
    if not isinstance(value, Sequence | np.ndarray) or isinstance(value, str | bytes):
        return False
    nested = [isinstance(item, Sequence | np.ndarray) and not isinstance(item, str) for item in value]
    if key == "grid":
        return any(nested) or isinstance(value, np.ndarray) or len(value) != 2
    if key == "gamma":
        return not (all(nested) and all(len(item) == 2 and not isinstance(item[0], Sequence) for item in value))
    return True
