"""The results of the demo: numbers, and pictures in a folder."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import numpy as np

from leym.client import Job

STILLS = 6  # frames of a strip, about
ANIMATED = 100  # frames of the animation, about
PLOTTED = ("activity", "coherence", "overlap")


def summary(jobs: Sequence[Job], occupancy: Sequence[float]) -> dict[str, float]:
    """Compute the speed, the occupancy of the slots and the latency of jobs that have succeeded.

    Args:
        jobs: the jobs.
        occupancy: samples of the share of busy slots.

    Returns:
        The number of jobs; their cell-steps, and cell-steps/s from the first start to the last end; the mean occupancy;
        the median and the 95th percentile of the seconds from submission to end.
    """
    cells = sum(job.steps * job.spec["grid"][0] * job.spec["grid"][1] for job in jobs)
    created, started, finished = (np.array([_at(job, key) for job in jobs]) for key in _TIMES)
    p50, p95 = np.percentile(finished - created, [50, 95])
    return {
        "jobs": len(jobs),
        "cell_steps": cells,
        "cell_steps_per_s": cells / max(finished.max() - started.min(), 1e-9),
        "slot_occupancy": float(np.mean(occupancy)) if occupancy else float("nan"),
        "latency_p50_s": float(p50),
        "latency_p95_s": float(p95),
    }


def save_pictures(jobs: Sequence[Job], folder: Path) -> list[Path]:
    """Save an animation and a strip of each law's longest job, and a plot of all observables if matplotlib is there.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for law, longest in {law_of(job): job for job in sorted(jobs, key=lambda job: job.steps)}.items():
        frames = {field["name"]: field["committed"] for field in longest.list_fields()}["phase"]
        animated, still = _stride(frames, ANIMATED), _stride(frames, STILLS)
        made.append(longest.download("phase", folder / f"{law}.webp", stride=animated, fps=20, scale=4))
        made.append(longest.download("phase", folder / f"{law}-strip.png", stride=still, scale=3))
    try:
        made.append(_plot(jobs, folder / "observables.png"))
    except ModuleNotFoundError as missing:
        print(f"no plot of the observables: {missing.name} is not installed (pip install 'leym[data]')")
    return made


def law_of(job: Job) -> str:
    """Return the name of a job's law, without its digest."""
    return job.law.partition("@")[0]


def _plot(jobs: Sequence[Job], path: Path) -> Path:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(PLOTTED), figsize=(14, 4), layout="constrained")
    laws = sorted({law_of(job) for job in jobs})
    colours = pyplot.colormaps["viridis"](np.linspace(0, 0.9, len(laws)))
    for job in jobs:
        found = job.series()
        for axis, name in zip(axes, PLOTTED, strict=True):
            colour = colours[laws.index(law_of(job))]
            axis.plot(found["step"], found[name], color=colour, linewidth=1, label=law_of(job))
    for axis, name in zip(axes, PLOTTED, strict=True):
        axis.set(title=name.replace("_", " "), xlabel="step")
    labels = dict(zip(*axes[-1].get_legend_handles_labels()[::-1], strict=True))
    axes[-1].legend(labels.values(), labels.keys())
    figure.suptitle(f"{len(jobs)} universes: mean over the grid")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return path


_TIMES = ("created_at", "started_at", "finished_at")


def _at(job: Job, key: str) -> float:
    value = job.as_dict()[key]
    return value if isinstance(value, int | float) else datetime.fromisoformat(value).timestamp()


def _stride(frames: int, wanted: int) -> int:
    return max(1, round(frames / wanted))
