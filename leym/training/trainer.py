"""Trains a law by a recipe: `train` is the whole loop.

    draw universes from the pool → begin the worst anew → damage some → roll out → loss → backward → clip → AdamW → pool

Weights, states and optimiser are float32; with precision "bf16" products are in bfloat16. Every random number is a
function of the seed and the number of the update, so a training that is resumed from its checkpoint ends with the bits
of an undisturbed one, on the same machine with the same number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from math import cos, isfinite, pi
from pathlib import Path
from typing import Any

import numpy as np
import torch

from leym.laws.bundle import Bundle
from leym.training import checkpoint
from leym.training.curve import Curve, Events
from leym.training.objectives.base import Objective, Rollout
from leym.training.objectives.registry import make_objective
from leym.training.output import write_law
from leym.training.pool import Pool, damaged
from leym.training.recipe import Recipe, TrainSection
from leym.training.seeds import generator, new_seed
from leym.training.trained_law import TrainedLaw, new_network

OnUpdate = Callable[[int, dict[str, float]], None]
FLOOR = 0.01  # share of the learning rate that a cosine schedule ends with


class Diverged(Exception):  # noqa: N818 - it says what happened
    """The loss or its gradient is not a finite number."""


class Stopped(Exception):  # noqa: N818 - it says what happened
    """The training was asked to stop; its checkpoint continues it."""


def train(
    recipe: Recipe,
    out: Path,
    *,
    resume: bool = False,
    device: torch.device | None = None,
    on_update: OnUpdate = lambda number, row: None,
    should_stop: Callable[[], bool] = lambda: False,
    on_row: Callable[[Curve], None] = lambda curve: None,
    on_checkpoint: Callable[[int, Path], None] = lambda number, file: None,
) -> Bundle:
    """Train a law, and write it into a folder with its curve.

    Args:
        recipe: What to train, towards what, and how.
        out: Folder for `law/` (the bundle), `curve.csv`, `curve.png`, TensorBoard events and the checkpoint.
        resume: Continue from the folder's checkpoint, if there is one.
        device: Where to compute; default: the CPU.
        on_update: Called after every update with the number of updates that are done and the values of this one.
        should_stop: Asked after every update; True saves a checkpoint and raises `Stopped`.
        on_row: Called with the whole curve when a row of it is complete, before `on_update`.
        on_checkpoint: Called with the number of updates that are done, and the file, after every checkpoint.

    Returns:
        The bundle in `out`.

    Raises:
        ValueError: the recipe's objective does not fit its law, or the checkpoint belongs to another recipe.
        Diverged: loss or gradient became infinite or NaN; the last checkpoint stays.
        Stopped: `should_stop` returned True.
    """
    settings, manifest = recipe.train, recipe.manifest()
    out.mkdir(parents=True, exist_ok=True)
    objective = make_objective(recipe, manifest)
    law = TrainedLaw(
        manifest,
        new_network(manifest, settings.seed, recipe.law.head == "zero", recipe.law.gain),
        device or torch.device("cpu"),
        gamma=settings.gamma,
        bf16=settings.precision == "bf16",
        compiled=settings.compile,
        checkpoint_gradients=settings.checkpoint_gradients,
    )
    optimiser = torch.optim.AdamW(law.parameters(), settings.learning_rate, weight_decay=settings.weight_decay)
    progress = checkpoint.Progress(law, optimiser, first_pool(law, objective, settings), Curve(settings.log_every))
    pool, curve, saved = progress.pool, progress.curve, out / checkpoint.FILE
    done = checkpoint.restore(saved, progress, recipe.digest) if resume and saved.exists() else 0
    events = Events(out)

    for number in range(done, settings.updates):
        random = generator(settings.seed, "update", number)
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(settings, number)
        places = pool.draw(settings.batch, random)
        x, memory = pool.take(places)
        if settings.restart:
            x[: settings.restart] = objective.starts(settings.restart, new_seed(random)).to(x)
            if memory is not None:
                memory[: settings.restart] = 0
        if settings.damage:
            low, high = settings.damage_radius
            unit = recipe.law.constraint == "unit"
            rest = slice(settings.restart, None)  # a start of one cell would not survive
            x[rest] = damaged(x[rest], random, settings.damage, (low, high), unit)
        steps = horizon(settings, number, random)

        rollout = Rollout.of(law, x, memory, steps, random, truncated=objective.truncated)
        judgement = objective.judge(rollout)
        optimiser.zero_grad(set_to_none=True)
        judgement.loss.backward()
        gradient = torch.nn.utils.clip_grad_norm_(law.parameters(), settings.clip)
        values = {"loss": float(judgement.loss.detach()), "gradient": float(gradient)}
        check_finite(values, number, settings)
        optimiser.step()
        pool.put(
            places,
            rollout.last if judgement.keep is None else judgement.keep,
            rollout.memory,
            judgement.per_universe,
        )

        values |= {"learning_rate": learning_rate(settings, number), "horizon": float(steps)}
        values |= {name: float(part) for name, part in judgement.parts.items()}
        if row := curve.add(number + 1, values):
            events.add(row)
            on_row(curve)
        on_update(number + 1, values)
        stop = should_stop()
        if stop or (number + 1) % settings.checkpoint_every == 0 or number + 1 == settings.updates:
            checkpoint.save(saved, progress, number + 1, recipe.digest)
            curve.write(out)
            on_checkpoint(number + 1, saved)
        if stop:
            events.close()
            raise Stopped(f"stopped after {number + 1} of {settings.updates} updates; --resume continues")

    events.close()
    curve.write(out)
    curve.plot(out, recipe.name)
    return write_law(recipe, law, curve.last(), out)


def first_pool(law: TrainedLaw, objective: Objective, settings: TrainSection) -> Pool:
    """Make the pool that a training begins with."""
    states = objective.pool(settings.pool, new_seed(generator(settings.seed, "pool"))).to(law.device)
    height, width = settings.grid
    return Pool(states, law.start_memory(settings.pool, (height, width)))


def learning_rate(settings: TrainSection, number: int) -> float:
    """Return the learning rate of an update: a linear warm-up, then constant or half a cosine down to 1 %."""
    rate = settings.learning_rate * min(1.0, (number + 1) / (settings.warm_up + 1))
    if settings.schedule == "cosine":
        rate *= FLOOR + (1 - FLOOR) * (1 + cos(pi * number / settings.updates)) / 2
    return rate


def horizon(settings: TrainSection, number: int, random: np.random.Generator) -> int:
    """Return the number of law steps of an update."""
    low, high = settings.horizons
    if settings.horizon_choice == "random":
        return int(random.integers(low, high + 1))
    return low + round((high - low) * number / max(1, settings.updates - 1))


def check_finite(values: dict[str, Any], number: int, settings: TrainSection) -> None:
    """Check loss and norm of the gradient.

    Raises:
        Diverged: one of them is not finite.
    """
    if wrong := [f"{name} = {value}" for name, value in values.items() if not isfinite(value)]:
        raise Diverged(
            f"update {number + 1}: {', '.join(wrong)}; a smaller train.learning_rate (now"
            f" {settings.learning_rate:g}), train.clip ({settings.clip:g}) or train.horizon may help"
        )
