"""Stores fidelity verdicts as JSON files, and resolves the precision "auto" by them. Torch-free.

<bundle>/fidelity/<precision>.json             in the law's own folder, so that copies of the law take it along
<data>/fidelity/<digest>/<precision>.json      if the law's folder cannot be written
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

from leym.common.files import write_text
from leym.common.strict_json import nan_to_null
from leym.contract.fidelity_plan import RENAMED_METRICS, current_name
from leym.laws.bundle import Bundle
from leym.settings import settings

log = logging.getLogger(__name__)

FORMAT = 1
HEADS = 256  # verdicts without samples that stay in memory, about 20 KB each
CHEAPEST_FIRST = ("nf4", "int8", "bf16")  # all but fp32, which needs no verdict
_STATUS = {"pass": "passed", "fail": "failed", "inconclusive": "unverified"}
Outcome = Literal["pass", "fail", "inconclusive"]


@dataclass(frozen=True)
class MetricVerdict:
    """Compares one metric of a candidate precision with the baseline.

    effect, low and high are in units of `scale`; the interval [low, high] has confidence 1 - 2 alpha.

    Attributes:
        name: Name of the metric.
        what: Its number and a short description.
        deciding: Whether the verdict depends on it.
        outcome: "pass", "fail" or "inconclusive".
        effect: Difference of the means, candidate minus baseline.
        low: Lower end of its interval.
        high: Upper end of its interval.
        p: p-value of the hypothesis that the two are not equivalent (TOST).
        p_beyond: Holm-adjusted p-value of the hypothesis that the effect lies within the margin.
        scale: Unit of the effect.
        baseline_mean: Mean of the baseline's members.
        baseline_sd: Standard deviation of the baseline's members.
        candidate_mean: Mean of the candidate's members.
        candidate_sd: Standard deviation of the candidate's members.
        wasserstein_ratio: Wasserstein distance of the two samples, relative to that of the two baselines.
        ks_p: Holm-adjusted p-value of a Kolmogorov-Smirnov test; for diagnosis only.
        spread: Standard deviation of the baseline's members, in units of the scale.
        power: Probability of a pass at this spread if there is no effect.
        members_needed: Members for a power of 0.8.
        control: (effect, low, high) of the second baseline against the first.
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
    """Answers whether a precision of a law may be served as the law.

    Attributes:
        verdict: "pass", "fail" or "inconclusive".
        reasons: Why the verdict is not "pass", as sentences; empty for a pass.
        law: Name, digest and sizes of the law.
        precision: The candidate precision.
        plan: The plan as it was registered before the runs.
        seeds: First and last seed of baseline, second baseline and candidate.
        metrics: One row per metric.
        spectrum: Excess log-spectral distance, as (effect, low, high).
        paired: Comparison of equal seeds at short range (`leym.fidelity.paired`).
        long_range: Overlap of equal seeds against that of unrelated members, as (effect, low, high).
        energy: Distance and p-value of the global energy test.
        flags: Ensemble -> flag -> number of members.
        controls: Outcomes of the controls that must pass and of those that must fail.
        curves: Name -> one number per recorded step.
        engine: Ensemble -> how the engine computed it (device, kernel, batch size).
        versions: Versions of the software.
        created: Time of the verdict, ISO 8601.
        seconds: Duration of the whole judgement.
        information: Further numbers that decide nothing.
        samples: Ensemble -> metric -> one number per member.
        regime: "label" of the law in fp32 ("frozen", "periodic", "chaotic", "waves" or "undecided") and "evidence",
            its numbers by name (`leym.fidelity.regime`); empty in verdicts of earlier versions.
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
    regime: dict[str, Any] = field(default_factory=dict)

    @property
    def power(self) -> float:
        """Smallest power of the deciding metrics; NaN if none was measured."""
        return min((m.power for m in self._measured), default=math.nan)

    @property
    def members_needed(self) -> int | None:
        """Members per ensemble for which every deciding metric has a power of 0.8; None if none was measured."""
        return max((m.members_needed for m in self._measured), default=None)

    @property
    def _measured(self) -> list[MetricVerdict]:
        return [m for m in self.metrics if m.deciding and math.isfinite(m.power)]

    def metric(self, name: str) -> MetricVerdict:
        """Return the row of a metric, by its current or its old name."""
        return next(m for m in self.metrics if current_name(m.name) == current_name(name))

    def to_json(self) -> str:
        """Return the verdict as JSON without spaces, since it holds the metrics of thousands of members.

        Numbers that are not finite become null, because JSON cannot hold them.
        """
        derived = {"format": FORMAT, "power": self.power, "members_needed": self.members_needed}
        return json.dumps(nan_to_null(asdict(self) | derived), separators=(",", ":"), allow_nan=False)


def from_json(text: str, *, as_stored: bool = False) -> Verdict:
    """Parse a verdict that `Verdict.to_json` wrote.

    Args:
        text: The JSON document.
        as_stored: Keep the metric names of the document; by default, metrics get their current names.

    Raises:
        ValueError: The text is not a verdict of this format.
    """
    try:
        stored = json.loads(text)
        if stored.pop("format") != FORMAT:
            raise ValueError("a verdict of another format")
        for derived in ("power", "members_needed"):
            stored.pop(derived, None)
        if not as_stored:
            _rename_metrics(stored)
        tuples = {name: tuple(map(_number, stored[name])) for name in ("spectrum", "long_range", "energy")}
        seeds = {name: tuple(ends) for name, ends in stored["seeds"].items()}
        metrics = [_metric(row) for row in stored["metrics"]]
        if "evidence" in (regime := stored.get("regime", {})):
            regime["evidence"] = {name: _number(value) for name, value in regime["evidence"].items()}
        verdict = Verdict(**stored | tuples | {"metrics": metrics, "seeds": seeds})
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"not a verdict: {error}") from error
    if verdict.verdict not in ("pass", "fail", "inconclusive"):
        raise ValueError(f"not a verdict: {verdict.verdict!r}")
    return verdict


def write_verdict(bundle: Bundle, verdict: Verdict, *, data: Path | None = None, in_bundle: bool = True) -> Path:
    """Write a verdict to the law's folder, or to the data folder if that fails.

    Args:
        bundle: The law.
        verdict: The verdict on one of its precisions.
        data: The data folder; default: that of the settings.
        in_bundle: False skips the folder of the law.

    Returns:
        The file, which appears complete or not at all.

    Raises:
        OSError: The data folder cannot be written either.
    """
    if in_bundle:
        try:
            return _write(bundle.path / "fidelity", verdict)
        except OSError as error:
            log.info("%s cannot be written (%s); the verdict goes to the data folder", bundle.path, error.strerror)
    return _write((data or settings().data) / "fidelity" / bundle.digest, verdict)


def _write(folder: Path, verdict: Verdict) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{verdict.precision}.json"
    write_text(path, verdict.to_json() + "\n", durable=True)
    return path


def read_verdict(
    bundle: Bundle, precision: str, *, data: Path | None = None, as_stored: bool = False
) -> Verdict | None:
    """Return the newest verdict on this precision of exactly these weights, or None; `as_stored` as in `from_json`.

    A file that is unreadable or belongs to another digest is ignored, so that the law counts as unverified.
    """
    return _newest(bundle, precision, data, lambda path: from_json(path.read_text(), as_stored=as_stored))


def read_head(bundle: Bundle, precision: str, *, data: Path | None = None, as_stored: bool = False) -> Verdict | None:
    """Return what `read_verdict` does, without the curves and the samples, which are nearly all of it.

    For every submission, so a file is parsed once for each of its versions. Nobody may change what is returned.
    """
    return _newest(bundle, precision, data, partial(_head_of, as_stored))


def _newest(bundle: Bundle, precision: str, data: Path | None, read: Callable[[Path], Verdict]) -> Verdict | None:
    found = []
    for folder in (bundle.path / "fidelity", (data or settings().data) / "fidelity" / bundle.digest):
        path = folder / f"{precision}.json"
        try:
            verdict = read(path)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            log.warning("unreadable verdict %s of law %s ignored: %s", path.name, bundle.ref, error)
            continue
        if verdict.law.get("digest") == bundle.digest and verdict.precision == precision:
            found.append(verdict)
    return max(found, key=lambda verdict: verdict.created, default=None)


def _head_of(as_stored: bool, path: Path) -> Verdict:
    file = path.stat()  # a new version is a new file, even within a tick of the clock
    return _head(as_stored, path, file.st_ino, file.st_mtime_ns, file.st_size)


@lru_cache(maxsize=HEADS)
def _head(as_stored: bool, path: Path, *version: int) -> Verdict:
    return replace(from_json(path.read_text(), as_stored=as_stored), curves={}, samples={})


def fidelity_status(bundle: Bundle, precision: str, *, data: Path | None = None) -> str:
    """Return "exact" for fp32, else "passed", "failed" or "unverified".

    A precision without a verdict, or with an inconclusive one, is unverified.
    """
    if precision == "fp32":
        return "exact"
    verdict = read_head(bundle, precision, data=data)
    return _STATUS[verdict.verdict] if verdict else "unverified"


def resolve_precision(bundle: Bundle, requested: str) -> str:
    """Return the precision that a job runs at: the requested one, or for "auto" the cheapest with a passing verdict."""
    return cheapest_passing(bundle) if requested == "auto" else requested


def cheapest_passing(bundle: Bundle, *, data: Path | None = None) -> str:
    """Return the first of nf4, int8, bf16 with a passing verdict, else fp32."""
    for precision in CHEAPEST_FIRST:
        verdict = read_head(bundle, precision, data=data)
        if verdict is not None and verdict.verdict == "pass":
            return precision
    return "fp32"


def _rename_metrics(stored: dict[str, Any]) -> None:
    """Give the metrics of a stored verdict their current names, wherever it names them."""
    for row in stored["metrics"]:
        row["name"] = current_name(row["name"])
    if "deciding" in stored["plan"]:
        stored["plan"]["deciding"] = [current_name(name) for name in stored["plan"]["deciding"]]
    for ensemble, metrics in stored.get("samples", {}).items():
        stored["samples"][ensemble] = {current_name(name): sample for name, sample in metrics.items()}
    for holder in (stored, *stored["controls"].values()):
        if "reasons" in holder:
            holder["reasons"] = [_with_current_names(reason) for reason in holder["reasons"]]


def _with_current_names(reason: str) -> str:
    """Rename the metric in a reason such as "coherence: fail: effect ..."."""
    for old, new in RENAMED_METRICS.items():
        reason = re.sub(rf"\b{old}: ", f"{new}: ", reason)
    return reason


def _metric(row: dict[str, Any]) -> MetricVerdict:
    numbers = {f.name: _number(row[f.name]) for f in fields(MetricVerdict) if f.type == "float"}
    return MetricVerdict(**row | numbers | {"control": tuple(map(_number, row["control"]))})


def _number(value: float | None) -> float:
    return math.nan if value is None else value
