"""Which law a state dict is: from its keys and shapes, its config, and what the caller says; all three must agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from leym.contract.problems import Problem
from leym.laws.architectures import architectures
from leym.laws.importing.expected_shapes import Sizes, families, sizes
from leym.laws.importing.safe_pickle import Skipped

TITLE = "Unusable checkpoint"
_BY_FORM = {"additive": "UNET", "diagonal": "UNET_UNITARY", "antisymmetric": "UNET_UNITARIA"}

Shapes = Mapping[str, tuple[int, ...]]


class Said(NamedTuple):
    """What the caller says; None leaves it to the files."""

    architecture: str | None = None
    d_state: int | None = None
    hidden_channels: int | None = None
    form: str | None = None
    resize_antialias: bool | None = None


def identify(shapes: Shapes, said: Said, config: Mapping[str, Any] | None) -> dict[str, Any]:
    """The fields architecture, d_state, hidden_channels, form and options of a manifest.

    Raises Problem 422 that names what contradicts what, or the keyword that must be given.
    """
    config = config or {}
    found = families(shapes)
    if not found:
        keys = ", ".join(sorted(shapes)[:6])
        raise _refused("architecture", f"the keys belong to no architecture that is known here: {keys}, …")
    measured = _sizes(found[0], shapes)
    architecture = _architecture(found, measured, shapes, said, config)
    kind = architectures()[architecture]
    if said.form is not None and (said.form == "antisymmetric") != (kind.form == "antisymmetric"):
        raise _refused("form", f"form = {said.form!r} does not go with architecture {architecture}")
    configured = _in_config(config, "d_state", "d_vector", "D_STATE", "D_VECTOR")
    _agree("d_state", measured.d, said.d_state, configured)
    configured = _in_config(config, "hidden_channels", "HIDDEN_CHANNELS")
    _agree("hidden_channels", measured.c, said.hidden_channels, configured)
    return {
        "architecture": architecture,
        "d_state": measured.d,
        "hidden_channels": measured.c,
        "form": said.form or kind.form,
        "options": _options(architecture, said),
    }


def _sizes(architecture: str, shapes: Shapes) -> Sizes:
    found = sizes(architecture, shapes)
    if found is None:
        raise _refused("d_state", f"{architecture}: the first layer is missing or has a shape that no law has")
    return found


def _architecture(found: list[str], measured: Sizes, shapes: Shapes, said: Said, config: Mapping[str, Any]) -> str:
    configured = _in_config(config, "MODEL_ARCHITECTURE")
    named = said.architecture or (configured if isinstance(configured, str) else None)
    if said.architecture is not None and said.architecture not in architectures():
        known = ", ".join(architectures())
        raise _refused("architecture", f"architecture = {said.architecture[:40]!r} is unknown; known: {known}")
    if said.form is not None and said.form not in _BY_FORM:
        raise _refused("form", f"form = {said.form[:40]!r}; known: {', '.join(_BY_FORM)}")
    if "UNET_UNITARIA" in found:
        found = _of_output(found, measured.d, shapes, said, named)
        if named is None and said.form in _BY_FORM:
            named = _BY_FORM[said.form]
        elif found == ["UNET_UNITARIA"] and named == "UNET_UNITARY":
            named = None  # documents of its time call it so; the shape of the last layer leaves no doubt
    if named is None and len(found) > 1:
        names = " and ".join(found)
        raise _refused("architecture", f"the keys fit {names}: say which by architecture = … (or form = …)")
    if named is not None and named not in found:
        where = "architecture" if said.architecture else "MODEL_ARCHITECTURE of the config"
        fit = " or ".join(found)
        raise _refused("architecture", f"{where} = {named[:40]!r}, but keys and shapes are those of {fit}")
    return named or found[0]


def _of_output(found: list[str], d: int, shapes: Shapes, said: Said, named: str | None) -> list[str]:
    """The U-Nets of one topology that fit: told apart by the channels of the last layer, and by `form`."""
    outputs = shapes["outc.weight"][0] if shapes["outc.weight"] else 0
    if outputs not in (2 * d, d * d):
        known = f"2 d = {2 * d} and d * d = {d * d} are known"
        if outputs == (2 * d) ** 2:
            known = f"with {2 * d} channels read, that is the first UNET_UNITARIA, of real states, which is not served"
        raise _refused("architecture", f"outc.weight has {outputs} channels: {known}")
    fits = [name for name in found if outputs == (d * d if name == "UNET_UNITARIA" else 2 * d)]
    if said.form is None:
        if len(fits) == len(found) and named not in ("UNET", "UNET_UNITARIA"):
            detail = "d_state = 2: 4 channels of outc.weight may be 2 d or d * d, which are different laws"
            raise _refused("form", f"{detail}; say form = additive, diagonal or antisymmetric")
        return fits
    antisymmetric = said.form == "antisymmetric"
    fits = [name for name in fits if (name == "UNET_UNITARIA") == antisymmetric]
    if not fits:
        raise _refused(
            "form", f"form = {said.form!r} does not go with {outputs} channels of outc.weight, d_state = {d}"
        )
    return fits


def _options(architecture: str, said: Said) -> dict[str, Any]:
    wanted = "antialias" in architectures()[architecture].options
    if not wanted and said.resize_antialias is not None:
        given = f"resize_antialias = {said.resize_antialias}"
        raise _refused("resize_antialias", f"{given}: {architecture} resizes nothing")
    if wanted and said.resize_antialias is None:
        detail = "torchvision up to 0.16 shrank without antialias (false), current versions with it (true)"
        raise _refused("resize_antialias", f"{architecture} needs resize_antialias = true or false: {detail}")
    return {"antialias": said.resize_antialias} if wanted else {}


def _agree(key: str, measured: int, said: int | None, configured: Any) -> None:
    if said is not None and said != measured:
        raise _refused(key, f"{key} = {said}, but the weights have {measured}")
    if configured is not None and configured != measured:
        shown = str(configured)[:40] if isinstance(configured, str | int | float) else f"a {type(configured).__name__}"
        raise _refused(key, f"{key} = {shown} in the config, but the weights have {measured}")


def _in_config(config: Mapping[str, Any], *names: str) -> Any:
    """The first of these keys, in MODEL_PARAMS or, as old files have it, at the top."""
    inner = config.get("MODEL_PARAMS")
    for place in (inner if isinstance(inner, dict) else {}, config):
        for name in names:
            found = place.get(name)
            if found is not None and not isinstance(found, Skipped):  # what was not read says nothing
                return found
    return None


def _refused(key: str, detail: str) -> Problem:
    return Problem(422, TITLE, detail, errors=[{"pointer": f"/{key}", "detail": detail}])
