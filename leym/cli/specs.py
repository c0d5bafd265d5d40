"""Parses the short forms of a JobSpec on the command line into arguments of the SDK."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from leym.common import strict_json
from leym.contract.limits import LIMITS

if TYPE_CHECKING:
    from leym.client import Client


def grid(text: str) -> tuple[int, int]:
    """Parse `64` or `64x128` (rows x columns). Raises ValueError."""
    found = re.fullmatch(r"(\d+)(?:[x,](\d+))?", text)
    if not found:
        raise ValueError(f"--grid {text!r}: write 64 or 64x128 (rows x columns)")
    return int(found[1]), int(found[2] or found[1])


def recordings(items: list[str]) -> list[Any]:
    """Parse recordings: `phase`, `phase:10` or `phase:10:float16`. Raises ValueError."""
    return [_recording(item) for item in items]


def _recording(item: str) -> Any:
    field, _, rest = item.replace("=", ":").partition(":")
    if not rest:
        return field
    every, _, dtype = rest.partition(":")
    if not every.isdigit():
        raise ValueError(f"--record {item!r}: write FIELD, FIELD:EVERY or FIELD:EVERY:DTYPE")
    return {"field": field, "every": int(every)} | ({"dtype": dtype} if dtype else {})


def observe(text: str | None) -> Any:
    """Parse the observables: `10`, `activity,coherence` or `10:activity,coherence`. Raises ValueError."""
    if text is None:
        return None
    every, _, names = text.rpartition(":") if ":" in text or not text.isdigit() else (text, "", "")
    if every and not every.isdigit():
        raise ValueError(f"--observe {text!r}: write EVERY, NAMES or EVERY:NAMES")
    found: dict[str, Any] = {"every": int(every)} if every else {}
    return found | ({"names": names.split(",")} if names else {})


def gamma(text: str | None) -> float | list[list[float]] | None:
    """Parse a gamma: `0.02`, or a schedule `0:0.01,500:0.05` of values from steps on. Raises ValueError."""
    if text is None:
        return None
    try:
        if ":" not in text:
            return float(text)
        points = [point.split(":") for point in text.split(",")]
        return [[int(step), float(value)] for step, value in points]
    except ValueError as error:
        raise ValueError(f"--gamma {text!r}: write a number, or STEP:VALUE,STEP:VALUE from step 0 on") from error


def gamma_text(value: Any) -> Any:
    """Return a gamma as `gamma` parses it."""
    return ",".join(f"{step}:{one:g}" for step, one in value) if isinstance(value, list) else value


def initial(text: str | None, client: Client) -> dict[str, Any] | None:
    """Parse a start state; an .npy file is uploaded.

    Args:
        text: `zeros`, `seed`, `random`, `complex_noise[:STRENGTH]`, `JOB@STEP`, `upload:ID` or the name of an .npy
            file.
        client: client for the upload.

    Raises:
        ValueError: the text has none of these forms.
        OSError: the file cannot be read.
    """
    if text is None:
        return None
    if text.endswith(".npy"):
        import numpy as np

        return {"kind": "upload", "id": client.upload_state(np.load(Path(text), allow_pickle=False))}
    if "@" in text:
        job, _, step = text.partition("@")
        if not step.isdigit():
            raise ValueError(f"--initial {text!r}: write JOB@STEP")
        return {"kind": "state", "job": job, "step": int(step)}
    kind, _, value = text.partition(":")
    if kind == "upload":
        return {"kind": kind, "id": value}
    return {"kind": kind} | ({"strength": float(value)} if value else {})


def interventions(items: list[str]) -> list[dict[str, Any]]:
    """Parse planned interventions: `200 vortex y=32 x=20 radius=8`, `4000 noise strength=1 region=disc:32,32,10`.

    Raises ValueError.
    """
    return [_intervention(item) for item in items]


def _intervention(item: str) -> dict[str, Any]:
    step, _, rest = item.strip().partition(" ")
    kind, *keys = rest.split() or [""]
    if not step.isdigit() or not kind.isalpha():
        raise ValueError(f"--intervene {item!r}: write 'STEP KIND KEY=VALUE …', as in '200 noise strength=0.3'")
    return {"step": int(step), "kind": kind} | change_keys(keys)


def change_keys(items: list[str]) -> dict[str, Any]:
    """Parse keys of an intervention: `y=32`, `to=drawn`, `vector=[[1,0],[0,0]]`, `region=disc:32,32,8`.

    Raises ValueError.
    """
    found: dict[str, Any] = {}
    for item in items:
        key, equals, value = item.partition("=")
        if not equals or not key.isidentifier() or key in ("kind", "step"):
            raise ValueError(f"{item!r}: write KEY=VALUE, such as radius=8; --at is the step")
        if key == "region" and not value.startswith("{"):
            found[key] = _region(value)
            continue
        try:
            found[key] = value if key == "state" else json.loads(value)  # an id may look like a number
        except ValueError:
            found[key] = value
    return found


def _region(text: str) -> dict[str, Any]:
    """Parse `disc:Y,X,RADIUS` or `rectangle:Y,X,HEIGHT,WIDTH`. Raises ValueError."""
    kind, _, numbers = text.partition(":")
    names = {"disc": ("y", "x", "radius"), "rectangle": ("y", "x", "height", "width")}.get(kind)
    values = numbers.split(",")
    if names is None or len(values) != len(names):
        raise ValueError(f"region={text}: write disc:Y,X,RADIUS or rectangle:Y,X,HEIGHT,WIDTH")
    return {"kind": kind} | {name: json.loads(value) for name, value in zip(names, values, strict=True)}


def tags(items: list[str]) -> dict[str, str] | None:
    """Parse tags of the form `key=value`. Raises ValueError."""
    for item in items:
        if "=" not in item:
            raise ValueError(f"--tag {item!r}: write KEY=VALUE")
    return dict(item.split("=", 1) for item in items) or None


def axes(items: list[str]) -> dict[str, Any]:
    """Parse the axes of a sweep.

    Args:
        items: `gamma=0,0.01`, `seed=0..9` (both included), `precision=nf4,fp32`, or a form of `leym.client.axes` such
            as `gamma=linspace(0,0.05,20)`.

    Raises:
        ValueError: an axis has none of these forms.
    """
    return {key: _values(key, values) for key, values in (_split(item) for item in items)}


def sample(text: str) -> dict[str, Any]:
    """Parse the mode of a sampled sweep: `latin_hypercube:1000` or `random:1000:7` (with a seed). Raises ValueError."""
    found = re.fullmatch(r"(random|latin_hypercube):([0-9]{1,9})(?::([0-9]{1,19}))?", text)
    if not found:
        raise ValueError(f"--sample {text!r}: write random:COUNT or latin_hypercube:COUNT, and :SEED after it")
    return {"sample": found[1], "count": int(found[2]), "seed": int(found[3] or 0)}


def window(text: str | None) -> tuple[int, int] | None:
    """Parse a window of steps, `1500:2000`, both included. Raises ValueError."""
    if text is None:
        return None
    found = re.fullmatch(r"([0-9]{1,9})[:,]([0-9]{1,9})", text)
    if not found:
        raise ValueError(f"--window {text!r}: write FIRST:LAST, two steps")
    return int(found[1]), int(found[2])


def stop_rules(items: list[str]) -> list[dict[str, Any]]:
    """Parse rules that end a member early: `frozen`, `cycle:3` (for 3 recordings) or `activity<0.01:5`.

    Raises ValueError.
    """
    return [_stop_rule(item) for item in items]


def _stop_rule(item: str) -> dict[str, Any]:
    found = re.fullmatch(r"(\w+)(?:([<>])([^:<>]+))?(?::([0-9]{1,9}))?", item)
    if not found:
        raise ValueError(f"--stop {item!r}: write frozen, collapsed, non_finite, cycle, NAME<NUMBER or NAME>NUMBER")
    rule: dict[str, Any] = {"when": found[1]}
    if found[2]:
        rule = {"observable": found[1], {"<": "below", ">": "above"}[found[2]]: float(found[3])}
    return rule | ({"for": int(found[4])} if found[4] else {})


def _split(item: str) -> tuple[str, str]:
    key, equals, values = item.partition("=")
    if not equals or not values:
        raise ValueError(f"--axis {item!r}: write KEY=VALUE,VALUE,… or KEY=FIRST..LAST")
    return key, values


def _values(key: str, text: str) -> Any:
    ends = re.fullmatch(r"([0-9]{1,30})\.\.([0-9]{1,30})", text)
    if ends:
        first, last = int(ends[1]), int(ends[2])
        if not first <= last < first + LIMITS.sweep_jobs:
            raise ValueError(f"--axis {key}={text}: {last - first + 1} values; 1 to {LIMITS.sweep_jobs} are allowed")
        return range(first, last + 1)
    from leym.client.axes import FORMS

    form = re.fullmatch(r"(\w+)\((.*)\)", text)
    if form:
        if form[1] not in FORMS:
            raise ValueError(f"--axis {key}={text}: write {', '.join(FORMS)}, each with its values in brackets")
        return {form[1]: [_value(item.strip()) for item in form[2].split(",")]}
    if text.startswith("["):
        return json.loads(text)
    return [_value(item) for item in text.split(",")]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_document(path: str) -> dict[str, Any]:
    """Read a JSON object in UTF-8, UTF-16 or UTF-32, the encodings that the REST API accepts.

    Args:
        path: name of the file; `-` is stdin.

    Raises:
        ValueError: the content is not a JSON object.
        OSError: the file cannot be read.
    """
    data = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    try:
        document = strict_json.parse(data)
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ValueError(f"{path}: a JobSpec is a JSON object, not {type(document).__name__}")
    return document
