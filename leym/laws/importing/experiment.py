"""Experiment folders as users have them: which checkpoint is meant, and which config goes with it. Paths only.

    output/experiments/<EXP>/config.json                 output/training_checkpoints/<EXP>/*.pth

or config and checkpoints together in one folder, or a checkpoint alone.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from leym.contract.problems import Problem

CONFIG = "config.json"
CONFIG_BYTES = 1 * 2**20
# The trainers' own "latest" takes both names without a number for episode 0, so the best one has to come first here.
_BY_NAME = ("best_model", "best_checkpoint", "last_checkpoint", "last")
_EPISODE = re.compile(r"(\d+)$")
_SNAPSHOT = re.compile(r"snapshot")


class Experiment(NamedTuple):
    checkpoint: Path
    config: Path | None
    choice: str  # which checkpoint was taken, and of how many


def find(path: Path) -> Experiment:
    """The checkpoint at `path` (a file, or the best one of a folder) and its config. Raises Problem 422."""
    if path.is_file():
        return Experiment(path, _config_of(path.parent), "the file that was named")
    if not path.is_dir():
        raise Problem(422, "No checkpoint", f"{path}: there is no such file or folder")
    folders = [path, path.parent.parent / "training_checkpoints" / path.name]
    found = next((files for folder in folders if (files := _checkpoints(folder))), [])
    if not found:
        raise Problem(422, "No checkpoint", f"{path} holds no checkpoint (*.pth, *.pt)")
    best, reason = _best(found)
    return Experiment(best, _config_of(path) or _config_of(best.parent), f"{reason} of {len(found)} in the folder")


def read_config(path: Path) -> dict[str, Any]:
    """Raises Problem 422 when it is no JSON object."""
    try:
        size = path.stat().st_size
        if size > CONFIG_BYTES:
            raise Problem(422, "Unreadable config", f"{path.name} has {size} bytes; at most {CONFIG_BYTES}")
        return parse_config(path.read_bytes(), path.name)
    except OSError as error:
        raise Problem(422, "Unreadable config", f"{path.name}: {error.strerror}") from error


def parse_config(data: bytes, name: str = CONFIG) -> dict[str, Any]:
    """Raises Problem 422 when it is no JSON object."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Problem(422, "Unreadable config", f"{name} is no JSON: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise Problem(422, "Unreadable config", f"{name} must be a JSON object, not {type(found).__name__}")
    return found


def _checkpoints(folder: Path) -> list[Path]:
    files = sorted([*folder.glob("*.pth"), *folder.glob("*.pt")]) if folder.is_dir() else []
    return [file for file in files if file.is_file() and not _SNAPSHOT.search(file.stem)]


def _best(files: list[Path]) -> tuple[Path, str]:
    for name in _BY_NAME:
        for file in files:
            if file.stem == name:
                return file, f"{file.name} by its name,"
    best = max(files, key=_episode)
    reason = f"{best.name} with the largest episode," if _episode(best) >= 0 else f"{best.name},"
    if _episode(best) < 0 and len(files) > 1:
        names = ", ".join(file.name for file in files[:10])
        raise Problem(422, "No checkpoint", f"none of {len(files)} files says that it is the one: {names}; name it")
    return best, reason


def _episode(file: Path) -> int:
    match = _EPISODE.search(file.stem)
    return int(match[1]) if match and len(match[1]) < 16 else -1


def _config_of(folder: Path) -> Path | None:
    places = (folder / CONFIG, folder.parent.parent / "experiments" / folder.name / CONFIG)
    return next((place for place in places if place.is_file()), None)
