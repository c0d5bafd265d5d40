"""Finds the checkpoint and the config in an experiment folder. Works on paths and reads no weights.

    output/experiments/<EXP>/config.json                 output/training_checkpoints/<EXP>/*.pth

Config and checkpoints may also lie together in one folder, and a checkpoint may come alone.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from leym.contract.problems import Problem

CONFIG = "config.json"
CONFIG_BYTES = 1 * 2**20
# In order of preference. Names without a number come first because the trainers' own "latest" reads them as episode 0.
_PREFERRED = ("best_model", "best_checkpoint", "last_checkpoint", "last")
_EPISODE = re.compile(r"(\d+)$")
_SNAPSHOT = re.compile(r"snapshot")


class Experiment(NamedTuple):
    """A checkpoint, its config if there is one, and a sentence on why this checkpoint was chosen."""

    checkpoint: Path
    config: Path | None
    choice: str


def find_experiment(path: Path) -> Experiment:
    """Find the checkpoint at `path` (a file, or the best one of a folder) and its config.

    Raises:
        Problem: 422, if there is no checkpoint or several and none is clearly the best.
    """
    if path.is_file():
        return Experiment(path, _config_of(path.parent), "the file that was named")
    if not path.is_dir():
        raise Problem(422, "No checkpoint", f"{path}: no such file or folder")
    folders = [path, path.parent.parent / "training_checkpoints" / path.name]
    found = next((files for folder in folders if (files := _checkpoints(folder))), [])
    if not found:
        raise Problem(422, "No checkpoint", f"{path} holds no checkpoint (*.pth, *.pt)")
    best, reason = _best(found)
    return Experiment(best, _config_of(path) or _config_of(best.parent), f"{reason} of {len(found)} in the folder")


def read_config(path: Path) -> dict[str, Any]:
    """Read a config file.

    Raises:
        Problem: 422, if the file is too large or is not a JSON object.
    """
    try:
        size = path.stat().st_size
        if size > CONFIG_BYTES:
            raise Problem(422, "Unreadable config", f"{path.name} has {size} bytes; at most {CONFIG_BYTES}")
        return parse_config(path.read_bytes(), path.name)
    except OSError as error:
        raise Problem(422, "Unreadable config", f"{path.name}: {error.strerror}") from error


def parse_config(data: bytes, name: str = CONFIG) -> dict[str, Any]:
    """Parse the bytes of a config file; `name` stands in error messages.

    Raises:
        Problem: 422, if they are not a JSON object.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Problem(422, "Unreadable config", f"{name} is not JSON: {str(error)[:200]}") from error
    if not isinstance(found, dict):
        raise Problem(422, "Unreadable config", f"{name} must be a JSON object, not {type(found).__name__}")
    return found


def _checkpoints(folder: Path) -> list[Path]:
    files = sorted([*folder.glob("*.pth"), *folder.glob("*.pt")]) if folder.is_dir() else []
    return [file for file in files if file.is_file() and not _SNAPSHOT.search(file.stem)]


def _best(files: list[Path]) -> tuple[Path, str]:
    for name in _PREFERRED:
        for file in files:
            if file.stem == name:
                return file, f"{file.name} by its name,"
    best = max(files, key=_episode)
    reason = f"{best.name} with the largest episode," if _episode(best) >= 0 else f"{best.name},"
    if _episode(best) < 0 and len(files) > 1:
        names = ", ".join(file.name for file in files[:10])
        raise Problem(
            422, "No checkpoint", f"{len(files)} files, and no name tells which is best: {names}; name one of them"
        )
    return best, reason


def _episode(file: Path) -> int:
    match = _EPISODE.search(file.stem)
    return int(match[1]) if match and len(match[1]) < 16 else -1


def _config_of(folder: Path) -> Path | None:
    places = (folder / CONFIG, folder.parent.parent / "experiments" / folder.name / CONFIG)
    return next((place for place in places if place.is_file()), None)
