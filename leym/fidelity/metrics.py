"""The metrics that a verdict rests on, each one number per member, and how their effects are scaled.

The trajectory of a member is complex64 [T, H, W, d]: T frames after the spin-up, at equal intervals. Frames and cells
are averaged within a member and never pooled over members.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from leym.physics import complexity, dynamics, structure
from leym.physics.domains import domains, labels_of

SERIES_CELLS = 16  # cells whose time series `lz76` parses
LAGS = (1, 4)  # frames


@dataclass(frozen=True)
class Metric:
    """A metric, and the way a difference of two means becomes a relative effect; fixed before anything is run.

    Attributes:
        scale: "mean" divides by the mean of the reference ensemble; "null" by the distance of that mean from the value
            for shuffled frames, which suits metrics with a large constant part.
        floor: least divisor, in the units of the metric; without it, a metric near 0 would have to match to 5 % of
            nothing.
        what: description for reports.
    """

    scale: Literal["mean", "null"]
    floor: float
    what: str


METRICS: dict[str, Metric] = {
    "entropy": Metric("mean", 0.01, "M1 channel entropy, spatial mean"),
    "entropy_sd": Metric("mean", 0.01, "M1 channel entropy, spatial standard deviation"),
    "pair_coherence": Metric("null", 0.1, "M2 alignment of 4-neighbours"),
    "wavenumber": Metric("mean", 0.1, "M3 mean wavenumber, cycles per shorter side"),
    "domains": Metric("mean", 0.01, "M5 domains per cell"),
    "largest_domain": Metric("mean", 0.01, "M5 share of the largest domain"),
    "domain_walls": Metric("mean", 0.01, "M5 share of unequal neighbours"),
    "domain_euler": Metric("null", 0.1, "M5 Euler number per cell"),
    "multiscale_entropy": Metric("mean", 1e-3, "M6 multiscale complexity of channel entropy"),
    "multiscale_power": Metric("mean", 1e-3, "M6 multiscale complexity of p of channel 0"),
    "ordinal_entropy": Metric("null", 0.1, "M7 permutation entropy of channel entropy"),
    "ordinal_complexity": Metric("null", 0.1, "M7 statistical complexity of channel entropy"),
    "ordinal_entropy_power": Metric("null", 0.1, "M7 permutation entropy of p of channel 0"),
    "compression": Metric("null", 0.1, "M8 zlib ratio of the quantised frame"),
    "series": Metric("mean", 0.1, "M8 Lempel-Ziv complexity of a cell's series"),
    "activity": Metric("mean", 1e-5, "M9 change per step"),
    "memory_short": Metric("null", 0.1, "M9 alignment with the next frame"),
    "memory_long": Metric("null", 0.1, "M9 alignment with the fourth frame on"),
    "lyapunov": Metric("mean", 0.02, "M10 largest Lyapunov exponent per step"),
}


def measure(psi: Tensor, step_activity: Tensor, *, wrap: bool) -> dict[str, float]:
    """Measure all metrics of one member except the Lyapunov exponent, which needs runs of its own.

    Args:
        psi: frames, complex64 [T, H, W, d], T >= 5.
        step_activity: the engine's observable `activity` (change over one step) at the same frames, float [T].
        wrap: True if the law's boundary is periodic.
    """
    entropy, power = structure.entropy_field(psi), structure.channel_power(psi)[..., 0]
    ordinal, complex_ = complexity.permutation_entropy(entropy)
    labels = labels_of(psi)
    memory = dynamics.autocorrelation(psi, LAGS)
    per_frame = {
        "entropy": entropy.mean((-2, -1)),
        "entropy_sd": entropy.std((-2, -1), correction=0),
        "pair_coherence": structure.pair_coherence(psi),
        "wavenumber": structure.mean_wavenumber(structure.spectrum(psi)),
        **domains(labels, wrap),
        "multiscale_entropy": complexity.multiscale(entropy),
        "multiscale_power": complexity.multiscale(power),
        "ordinal_entropy": ordinal,
        "ordinal_complexity": complex_,
        "ordinal_entropy_power": complexity.permutation_entropy(power)[0],
        "compression": complexity.compression(psi),
        "activity": step_activity,
    }
    return {name: float(values.double().mean()) for name, values in per_frame.items()} | {
        "memory_short": float(memory[0]),
        "memory_long": float(memory[1]),
        "series": _series(labels),
    }


def shuffled(psi: Tensor, seed: int) -> Tensor:
    """Return the frames with their cells in random order, another one per frame: complex64 [T, H, W, d].

    This keeps the distribution of cells and destroys their order in space and time.
    """
    generator = torch.Generator().manual_seed(seed)
    t, h, w, d = psi.shape
    cells = psi.reshape(t, h * w, d)
    return torch.stack([frame[torch.randperm(h * w, generator=generator)] for frame in cells]).view(psi.shape)


def flags(psi: Tensor, step_activity: Tensor) -> tuple[str, ...]:
    """Return the defects of a run: `nan`, `frozen` (activity < 1e-6), `collapsed` (mean channel entropy < 0.01).

    The entropy is averaged over cells that are not empty; a universe of empty cells has collapsed, whatever its d.
    """
    entropy, lives = structure.entropy_field(psi), structure.channel_power(psi).sum(-1) > 0
    one_channel = psi.shape[-1] > 1 and bool((entropy * lives).sum() < 0.01 * lives.sum())
    found = {
        "nan": not bool(torch.isfinite(torch.view_as_real(psi)).all()),
        "frozen": bool(step_activity.mean() < 1e-6),
        "collapsed": one_channel or not bool(lives.any()),
    }
    return tuple(name for name, present in found.items() if present)


def _series(labels: Tensor) -> float:
    """Return the mean Lempel-Ziv complexity of the series of evenly spread cells; labels: int64 [T, H, W]."""
    series = labels.flatten(1).T
    chosen = series[torch.linspace(0, len(series) - 1, min(SERIES_CELLS, len(series))).long()]
    return sum(complexity.lz76(row) for row in chosen.tolist()) / len(chosen)
