"""The suite: every metric that a verdict rests on, as one number per member, and how its effect is scaled.

A member's trajectory is complex64 [T, H, W, d]: T frames after the spin-up, at equal distances. Frames and cells are
averaged within a member and never pooled over members.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from leym.physics import complexity, dynamics, structure
from leym.physics.domains import domains, labels_of

SERIES_CELLS = 16  # cells whose time series are parsed by `lz76`
LAGS = (1, 4)  # frames


@dataclass(frozen=True)
class Metric:
    """How the difference of two means is made relative, fixed before anything is run.

    scale "mean": divided by the pilot's mean; "null": by the pilot's distance from its own shuffled frames, for what
    has a large constant part. Never by less than `floor`, in the units of the metric: below that, 5 % of nothing would
    be asked for.
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
    """All metrics of one member but the Lyapunov exponent, which needs runs of its own.

    psi: complex64 [T, H, W, d], T >= 5; step_activity: float [T], the engine's observable `activity` (over one step) at
    the same frames; wrap: whether the law's boundary is periodic.
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
    """The null of what has structure: the cells of every frame in another order, each frame in its own.

    Complex64 [T, H, W, d]. Keeps the distribution of cells, breaks space and time.
    """
    generator = torch.Generator().manual_seed(seed)
    t, h, w, d = psi.shape
    cells = psi.reshape(t, h * w, d)
    return torch.stack([frame[torch.randperm(h * w, generator=generator)] for frame in cells]).view(psi.shape)


def flags(psi: Tensor, step_activity: Tensor) -> tuple[str, ...]:
    """What is wrong with a run whatever its statistics: `nan`, `frozen` (activity < 1e-6), `collapsed` (S < 0.01)."""
    found = {
        "nan": not bool(torch.isfinite(torch.view_as_real(psi)).all()),
        "frozen": bool(step_activity.mean() < 1e-6),
        "collapsed": psi.shape[-1] > 1 and bool(structure.entropy_field(psi).mean() < 0.01),
    }
    return tuple(name for name, present in found.items() if present)


def _series(labels: Tensor) -> float:
    """Mean Lempel-Ziv complexity of the dominant channel's series, over cells spread evenly: int64 [T, H, W]."""
    series = labels.flatten(1).T
    chosen = series[torch.linspace(0, len(series) - 1, min(SERIES_CELLS, len(series))).long()]
    return sum(complexity.lz76(row) for row in chosen.tolist()) / len(chosen)
