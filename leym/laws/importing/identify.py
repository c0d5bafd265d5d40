"""Derives architecture, sizes, form and options of a law from its weights, its config and the user's hints.

The keys and shapes of the weights decide as far as they can. Config and hints fill the gaps, and must agree with the
weights where both speak.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from leym.contract.problems import Problem
from leym.laws.architectures import architectures
from leym.laws.importing.expected_shapes import Sizes, matching_architectures, measured_sizes
from leym.laws.importing.safe_pickle import Skipped

TITLE = "Unusable checkpoint"
_UNET_OF_FORM = {"additive": "UNET", "diagonal": "UNET_UNITARY", "antisymmetric": "UNET_UNITARIA"}

Shapes = Mapping[str, tuple[int, ...]]


class UserHints(NamedTuple):
    """A user's knowledge about a checkpoint; None leaves the answer to the files."""

    architecture: str | None = None
    d_state: int | None = None
    hidden_channels: int | None = None
    form: str | None = None
    resize_antialias: bool | None = None


def identify(shapes: Shapes, hints: UserHints, config: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the manifest fields architecture, d_state, hidden_channels, form, options and, unless unit, constraint.

    Args:
        shapes: Key -> shape of the weights.
        hints: What the user knows about the law.
        config: The trainer's config, if there is one.

    Raises:
        Problem: 422, naming the contradiction, or the hint that is needed.
    """
    config = config or {}
    candidates = matching_architectures(shapes)
    if not candidates:
        keys = ", ".join(sorted(shapes)[:6])
        raise _refusal("architecture", f"the keys match no architecture that is known here: {keys}, …")
    sizes = measured_sizes(candidates[0], shapes)
    if sizes is None:
        raise _refusal("d_state", f"{candidates[0]}: the first layer is missing or has an impossible shape")
    architecture = _choose_architecture(candidates, sizes, shapes, hints, config)
    default_form = architectures()[architecture].form
    if hints.form is not None and (hints.form == "antisymmetric") != (default_form == "antisymmetric"):
        raise _refusal("form", f"form = {hints.form!r} does not fit architecture {architecture}")
    configured = _from_config(config, "d_state", "d_vector", "D_STATE", "D_VECTOR")
    _check_size("d_state", sizes.d, hints.d_state, configured)
    configured = _from_config(config, "hidden_channels", "HIDDEN_CHANNELS")
    _check_size("hidden_channels", sizes.c, hints.hidden_channels, configured)
    return {
        "architecture": architecture,
        "d_state": sizes.d,
        "hidden_channels": sizes.c,
        "form": hints.form or default_form,
        "options": _options(architecture, hints),
        **({"constraint": {"box": [0, 1]}} if architecture == "LENIA" else {}),  # Lenia is defined in it
    }


def _choose_architecture(
    candidates: list[str], sizes: Sizes, shapes: Shapes, hints: UserHints, config: Mapping[str, Any]
) -> str:
    configured = _from_config(config, "MODEL_ARCHITECTURE")
    named = hints.architecture or (configured if isinstance(configured, str) else None)
    if hints.architecture is not None and hints.architecture not in architectures():
        known = ", ".join(architectures())
        raise _refusal("architecture", f"architecture = {hints.architecture[:40]!r} is unknown; known: {known}")
    if hints.form is not None and hints.form not in _UNET_OF_FORM:
        raise _refusal("form", f"form = {hints.form[:40]!r} is unknown; known: {', '.join(_UNET_OF_FORM)}")
    if "UNET_UNITARIA" in candidates:
        candidates = _unets_with_output(candidates, sizes.d, shapes, hints, named)
        if named is None and hints.form in _UNET_OF_FORM:
            named = _UNET_OF_FORM[hints.form]
        elif candidates == ["UNET_UNITARIA"] and named == "UNET_UNITARY":
            named = None  # configs of November 2025 use this name for it; the shape of the last layer is unambiguous
    if named is None and len(candidates) > 1:
        names = " and ".join(candidates)
        raise _refusal("architecture", f"the keys fit {names}: choose one by architecture = … (or form = …)")
    if named is not None and named not in candidates:
        where = "architecture" if hints.architecture else "MODEL_ARCHITECTURE of the config"
        fit = " or ".join(candidates)
        raise _refusal("architecture", f"{where} = {named[:40]!r}, but keys and shapes are those of {fit}")
    return named or candidates[0]


def _unets_with_output(candidates: list[str], d: int, shapes: Shapes, hints: UserHints, named: str | None) -> list[str]:
    """Return the U-Nets that fit the number of output channels and the form; their keys are the same."""
    outputs = shapes["outc.weight"][0] if shapes["outc.weight"] else 0
    if outputs not in (2 * d, d * d):
        known = f"2 d = {2 * d} and d * d = {d * d} are known"
        if outputs == (2 * d) ** 2:
            known = f"with {2 * d} input channels, this is the first UNET_UNITARIA, of real states, which is not served"
        raise _refusal("architecture", f"outc.weight has {outputs} channels: {known}")
    fits = [name for name in candidates if outputs == (d * d if name == "UNET_UNITARIA" else 2 * d)]
    if hints.form is None:
        if len(fits) == len(candidates) and named not in ("UNET", "UNET_UNITARIA"):
            detail = "d_state = 2: the 4 channels of outc.weight may be 2 d or d * d, which are different laws"
            raise _refusal("form", f"{detail}; give form = additive, diagonal or antisymmetric")
        return fits
    antisymmetric = hints.form == "antisymmetric"
    fits = [name for name in fits if (name == "UNET_UNITARIA") == antisymmetric]
    if not fits:
        detail = f"form = {hints.form!r} does not fit {outputs} channels of outc.weight with d_state = {d}"
        raise _refusal("form", detail)
    return fits


def _options(architecture: str, hints: UserHints) -> dict[str, Any]:
    needed = "antialias" in architectures()[architecture].options
    if not needed and hints.resize_antialias is not None:
        given = f"resize_antialias = {hints.resize_antialias}"
        raise _refusal("resize_antialias", f"{given}: {architecture} resizes nothing")
    if needed and hints.resize_antialias is None:
        detail = "torchvision up to 0.16 shrank without antialias (false), current versions with it (true)"
        raise _refusal("resize_antialias", f"{architecture} needs resize_antialias = true or false: {detail}")
    return {"antialias": hints.resize_antialias} if needed else {}


def _check_size(key: str, measured: int, hinted: int | None, configured: Any) -> None:
    if hinted is not None and hinted != measured:
        raise _refusal(key, f"{key} = {hinted}, but the weights have {measured}")
    if configured is not None and configured != measured:
        shown = str(configured)[:40] if isinstance(configured, str | int | float) else f"a {type(configured).__name__}"
        raise _refusal(key, f"{key} = {shown} in the config, but the weights have {measured}")


def _from_config(config: Mapping[str, Any], *names: str) -> Any:
    """Return the first of these keys from MODEL_PARAMS or, as in old files, from the top level; else None."""
    inner = config.get("MODEL_PARAMS")
    for level in (inner if isinstance(inner, dict) else {}, config):
        for name in names:
            found = level.get(name)
            if found is not None and not isinstance(found, Skipped):  # an object that was not read tells nothing
                return found
    return None


def _refusal(key: str, detail: str) -> Problem:
    return Problem(422, TITLE, detail, errors=[{"pointer": f"/{key}", "detail": detail}])
