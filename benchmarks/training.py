"""Measures training: `python -m benchmarks.training [--quick]`.

For one recipe it trains over three seeds in fp32 and in bf16, in turn, and prints the loss at the end with its
interval, the difference of the two paired by seed, and the ratio of their speeds in this run. Speeds are those of the
CPU time of this process, since other programs may run beside it. Every arm leaves out its first updates.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from scipy.stats import t

from benchmarks.common import table
from leym.engine.device import pick_device
from leym.training.recipe import Recipe
from leym.training.trainer import train

SEEDS, WARM, LAST = (0, 1, 2), 5, 0.1
LEVEL = 0.95

QUICK: dict[str, Any] = {"updates": 40, "batch": 4, "grid": [16, 16], "horizon": 4, "pool": 32, "warm_up": 5}
FULL: dict[str, Any] = {"updates": 400, "batch": 8, "grid": [32, 32], "horizon": 8, "pool": 128}


def recipe(precision: str, seed: int, quick: bool) -> Recipe:
    """An NCA that learns spiral waves."""
    options = {"padding": "periodic"}
    return Recipe.model_validate(
        {
            "name": f"spirals-{precision}",
            "law": {"architecture": "NCA", "d_state": 1, "hidden_channels": 48, "options": options},
            "objective": {"kind": "teacher", "teacher": "kuramoto", "age": 20},
            "train": (QUICK if quick else FULL) | {"precision": precision, "seed": seed, "log_every": 1},
        }
    )


def arm(made: Recipe) -> tuple[float, float]:
    """Train, and return the mean loss of the last tenth and the updates per second of CPU time."""
    losses: list[float] = []
    moments: list[float] = []

    def on_update(_: int, values: dict[str, float]) -> None:
        losses.append(values["loss"])
        moments.append(time.process_time())

    with TemporaryDirectory() as folder:
        train(made, Path(folder), device=pick_device().torch, on_update=on_update)
    last = losses[-max(1, int(len(losses) * LAST)) :]
    return float(np.mean(last)), (len(moments) - 1 - WARM) / (moments[-1] - moments[WARM])


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean, and the ends of its 95 % interval by Student's t."""
    mean, error = float(np.mean(values)), float(np.std(values, ddof=1)) / len(values) ** 0.5
    half = float(t.ppf((1 + LEVEL) / 2, len(values) - 1)) * error
    return mean, mean - half, mean + half


def measure(quick: bool) -> dict[str, Any]:
    """Losses and speeds of both precisions, and their paired difference."""
    found: dict[str, list[tuple[float, float]]] = {"fp32": [], "bf16": []}
    for seed in SEEDS:
        for precision, runs in found.items():
            runs.append(arm(recipe(precision, seed, quick)))
    losses = {precision: [loss for loss, _ in runs] for precision, runs in found.items()}
    speeds = {precision: [speed for _, speed in runs] for precision, runs in found.items()}
    relative = [b / a - 1 for a, b in zip(losses["fp32"], losses["bf16"], strict=True)]
    ratios = [b / a for a, b in zip(speeds["fp32"], speeds["bf16"], strict=True)]
    return {
        "threads": torch.get_num_threads(),
        "loss": {precision: interval(values) for precision, values in losses.items()},
        "updates_per_cpu_s": {precision: interval(values) for precision, values in speeds.items()},
        "loss_bf16_over_fp32_minus_1": interval(relative),
        "speed_bf16_over_fp32": interval(ratios),
    }


def shown(found: dict[str, Any]) -> str:
    """The figures as a table."""
    rows = [
        {"what": f"{what} {precision}", "mean": value[0], "low": value[1], "high": value[2]}
        for what in ("loss", "updates_per_cpu_s")
        for precision, value in found[what].items()
    ]
    for what in ("loss_bf16_over_fp32_minus_1", "speed_bf16_over_fp32"):
        mean, low, high = found[what]
        rows.append({"what": what, "mean": mean, "low": low, "high": high})
    return table(rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a minute in place of half an hour")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    arguments = parser.parse_args()
    found = measure(arguments.quick)
    print(json.dumps(found) if arguments.json else shown(found))


if __name__ == "__main__":
    main()
