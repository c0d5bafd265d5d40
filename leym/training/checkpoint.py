"""Saves and restores a training in the middle, with every bit that decides how it goes on."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError  # the exception only: torch.load with weights_only executes nothing
from typing import Any

import torch
from torch import Tensor

from leym.common.files import atomic_file
from leym.training.curve import Curve
from leym.training.pool import Pool
from leym.training.trained_law import TrainedLaw

FILE = "checkpoint.pt"
VERSION = 1


@dataclass(frozen=True)
class Progress:
    """Everything that changes during a training.

    Attributes:
        law: Its weights count.
        optimiser: Its moments count.
        pool: States, memories and losses.
        curve: The rows so far.
    """

    law: TrainedLaw
    optimiser: torch.optim.Optimizer
    pool: Pool
    curve: Curve


def save(path: Path, progress: Progress, updates: int, recipe: str) -> None:
    """Write a checkpoint atomically and synced to disk; it loads without executing anything (weights_only).

    Args:
        path: File to write.
        progress: What to save.
        updates: Updates that are done.
        recipe: Digest of the recipe.
    """
    content: dict[str, Any] = {
        "version": VERSION,
        "recipe": recipe,
        "updates": updates,
        "weights": progress.law.network.state_dict(),
        "optimiser": progress.optimiser.state_dict(),
        "states": progress.pool.states,
        "memory": progress.pool.memory,
        "losses": progress.pool.losses,
        "curve": progress.curve.as_dict(),
    }
    with atomic_file(path, durable=True) as file:
        torch.save(content, file)


def restore(path: Path, progress: Progress, recipe: str) -> int:
    """Read a checkpoint into a training that was set up by the same recipe, and return the updates that are done.

    Raises:
        ValueError: the file is no checkpoint, or one of another recipe.
        OSError: the file cannot be read.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        version, other = content["version"], content["recipe"]
    except (RuntimeError, KeyError, TypeError, EOFError, UnpicklingError) as error:
        raise ValueError(f"{path} is not a checkpoint of a training: {str(error)[:200]}") from None
    if version != VERSION:
        raise ValueError(f"{path}: version = {version}, this program reads {VERSION}")
    if other != recipe:
        raise ValueError(f"{path} belongs to another recipe: sha256 {other[:12]}, not {recipe[:12]}")
    progress.law.network.load_state_dict(content["weights"], strict=True)
    progress.optimiser.load_state_dict(content["optimiser"])
    pool = progress.pool
    _copy(pool.states, content["states"])
    if pool.memory is not None:
        _copy(pool.memory, content["memory"])
    _copy(pool.losses, content["losses"])
    progress.curve.restore(content["curve"])
    done: int = content["updates"]
    return done


def _copy(into: Tensor, found: Tensor) -> None:
    if into.shape != found.shape:
        raise ValueError(f"the pool of the checkpoint has shape {list(found.shape)}, not {list(into.shape)}")
    into.copy_(found)
