"""Verdicts on a law's precisions, as JSON files. Torch-free: the API reads them to resolve "auto".

<bundle>/fidelity/<precision>.json             beside the law, travels with it
<data>/fidelity/<digest>/<precision>.json      where the law's folder cannot be written
"""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from leym.common.files import write_text
from leym.common.strict_json import nan_to_null
from leym.laws.bundle import Bundle
from leym.settings import settings

log = logging.getLogger(__name__)

FORMAT = 1
CHEAPEST_FIRST = ("nf4", "int8", "bf16")  # below fp32, which needs no verdict
STANDINGS = {"pass": "passed", "fail": "failed", "inconclusive": "unverified"}
Outcome = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class MetricVerdict:
    """One metric: candidate against baseline, in units of `scale`, with the interval at confidence 1 - 2 alpha.

    p: of non-equivalence (TOST); p_beyond: Holm-adjusted, that the effect is no larger than the margin; ks_p:
    Holm-adjusted, diagnosis only. spread: standard deviation of baseline members over the scale; power: probability of
    a pass at this spread if there is no effect; members_needed: for a power of 0.8. control: (effect, low, high) of the
    second baseline against the first.
    """

    name: str
    what: str
    deciding: bool
    outcome: Outcome
    effect: float
    low: float
    high: float
    p: float
    p_beyond: float
    scale: float
    baseline_mean: float
    baseline_sd: float
    candidate_mean: float
    candidate_sd: float
    wasserstein_ratio: float
    ks_p: float
    spread: float
    power: float
    members_needed: int
    control: tuple[float, float, float]


@dataclass(frozen=True)
class Verdict:
    """May this precision of this law be served as the law?

    reasons: why not "pass", in words; empty for a pass. plan: as it was registered; seeds: first and last of baseline,
    second baseline and candidate. paired: the short range (`short_range.Paired`); long_range: fidelity of
    equal seeds against unrelated members, as (effect, low, high); spectrum: excess log-spectral distance (same);
    energy: the global test's distance and p; controls: outcome of what must pass and what must fail; samples: ensemble
    -> metric -> one number per member; engine: how it was computed; seconds: of the whole judgement.
    """

    verdict: Outcome
    reasons: list[str]
    law: dict[str, Any]
    precision: str
    plan: dict[str, Any]
    seeds: dict[str, tuple[int, int]]
    metrics: list[MetricVerdict]
    spectrum: tuple[float, float, float]
    paired: dict[str, Any]
    long_range: tuple[float, float, float]
    energy: tuple[float, float]
    flags: dict[str, dict[str, int]]
    controls: dict[str, Any]
    curves: dict[str, list[float]]
    engine: dict[str, Any]
    versions: dict[str, str]
    created: str
    seconds: float
    information: dict[str, dict[str, float]] = field(default_factory=dict)
    samples: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def metric(self, name: str) -> MetricVerdict:
        return next(m for m in self.metrics if m.name == name)

    def to_json(self) -> str:
        """Numbers that are not finite become null: JSON has none of them."""
        return json.dumps(nan_to_null(asdict(self) | {"format": FORMAT}), indent=1, allow_nan=False)


def from_json(text: str) -> Verdict:
    """Raises ValueError when the text is no verdict of this format."""
    try:
        said = json.loads(text)
        if said.pop("format") != FORMAT:
            raise ValueError("a verdict of another format")
        tuples = {name: tuple(map(_number, said[name])) for name in ("spectrum", "long_range", "energy")}
        seeds = {name: tuple(ends) for name, ends in said["seeds"].items()}
        metrics = [_metric(row) for row in said["metrics"]]
        verdict = Verdict(**said | tuples | {"metrics": metrics, "seeds": seeds})
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no verdict: {error}") from error
    if verdict.verdict not in ("pass", "fail", "inconclusive"):
        raise ValueError(f"no verdict: {verdict.verdict!r}")
    return verdict


def write_verdict(bundle: Bundle, verdict: Verdict, *, data: Path | None = None, beside: bool = True) -> Path:
    """Keep a verdict beside the law, or in the data folder if the law's cannot (or shall not) be written; the file.

    Written under another name and renamed: nobody reads half of it.
    """
    places = [bundle.path / "fidelity"] if beside else []
    places.append((data or settings().data) / "fidelity" / bundle.digest)
    for i, folder in enumerate(places):
        try:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{verdict.precision}.json"
            write_text(path, verdict.to_json() + "\n", durable=True)
            return path
        except OSError as error:
            if i == len(places) - 1:
                raise
            log.info("%s cannot be written (%s); the verdict goes to the data folder", folder, error.strerror)
    raise AssertionError("unreachable")


def read_verdict(bundle: Bundle, precision: str, *, data: Path | None = None) -> Verdict | None:
    """The newest verdict on this precision of exactly these weights, or None.

    A file that cannot be read, or speaks of another digest, is no verdict: the law then runs as it is.
    """
    found = []
    for folder in (bundle.path / "fidelity", (data or settings().data) / "fidelity" / bundle.digest):
        path = folder / f"{precision}.json"
        try:
            verdict = from_json(path.read_text())
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            log.warning("the verdict in %s of law %s is left out: %s", path.name, bundle.ref, error)
            continue
        if verdict.law.get("digest") == bundle.digest and verdict.precision == precision:
            found.append(verdict)
    return max(found, key=lambda verdict: verdict.created, default=None)


def standing(bundle: Bundle, precision: str, *, data: Path | None = None) -> str:
    """What is known of a precision: exact (fp32, which needs no verdict), passed, failed, or unverified.

    An inconclusive verdict verifies nothing.
    """
    if precision == "fp32":
        return "exact"
    verdict = read_verdict(bundle, precision, data=data)
    return STANDINGS[verdict.verdict] if verdict else "unverified"


def cheapest_passing(bundle: Bundle, *, data: Path | None = None) -> str:
    """What "auto" means: the first of nf4, int8, bf16 with a passing verdict, else fp32."""
    for precision in CHEAPEST_FIRST:
        verdict = read_verdict(bundle, precision, data=data)
        if verdict is not None and verdict.verdict == "pass":
            return precision
    return "fp32"


def _metric(row: dict[str, Any]) -> MetricVerdict:
    numbers = {f.name: _number(row[f.name]) for f in fields(MetricVerdict) if f.type == "float"}
    return MetricVerdict(**row | numbers | {"control": tuple(map(_number, row["control"]))})


def _number(value: float | None) -> float:
    return math.nan if value is None else value
