"""Imports checkpoints of the Atheria project: reads them as data, checks them strictly, writes bundles. Torch-free."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.numpy import save_file

from leym import __version__
from leym.contract.problems import Problem, conflict
from leym.contract.spec import LIMITS
from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, Manifest, read_bundle
from leym.laws.importing.averages import find_average
from leym.laws.importing.checks import check_shapes
from leym.laws.importing.experiment import find_experiment, read_config
from leym.laws.importing.identify import UserHints, identify
from leym.laws.importing.safe_pickle import Skipped
from leym.laws.importing.torch_file import TensorInfo, TorchFile, open_torch_file
from leym.laws.versions import publish, read_versions, staging_folder

TITLE = "Unusable checkpoint"
# Prefixes of keys that torch.compile, DataParallel or AveragedModel, and Lightning add.
PREFIXES = ("_orig_mod.", "module.", "model.")
_LIGHTNING = "model."  # the attribute of a LightningModule that holds the network; the others are losses and metrics
_AVERAGED = "n_averaged"  # buffer of torch.optim.swa_utils.AveragedModel: the number of averaged models
_MAX_NAMES = 40  # skipped keys and types that the provenance lists
_STATE_DICT_KEYS = ("model_state_dict", "state_dict")
_REAL = ("<f4", "<f8", "<f2", "bfloat16", "<i8", "<i4", "<i2", "i1", "u1", "?")


def import_law(
    path: Path,
    name: str,
    *,
    architecture: str | None = None,
    d_state: int | None = None,
    hidden_channels: int | None = None,
    form: str | None = None,
    resize_antialias: bool | None = None,
    target: Path,
) -> Bundle:
    """Import the law in a checkpoint or experiment folder as the bundle `target`/`name`.

    The same checkpoint imported twice gives the bundle that is already there.

    Args:
        path: A checkpoint file, or an experiment folder.
        name: Name of the law.
        architecture: What neither config nor weights tell; checked against both, like the following four.
        d_state: Complex channels of a cell.
        hidden_channels: Width of the network.
        form: "additive", "diagonal" or "antisymmetric".
        resize_antialias: How an SNN_UNET shrinks.
        target: Folder of laws.

    Raises:
        Problem: 422, if the file is not a checkpoint of a known law or one of the keywords is needed; 409, if `target`
            has another law of that name.
    """
    experiment = find_experiment(path)
    config = read_config(experiment.config) if experiment.config else None
    hints = UserHints(architecture, d_state, hidden_channels, form, resize_antialias)
    with staging_folder(target) as work:
        made = convert(experiment.checkpoint, name, hints, config, work / name, choice=experiment.choice)
        if publish(made.path, target / name):
            return read_bundle(target / name)
    existing = list(read_versions(target / name))
    for law in existing:
        if law.digest == made.digest:
            return law
    refs = ", ".join(law.ref for law in existing) or "a folder without a readable law"
    raise conflict(f"the name {name!r} is taken by another law: {refs}")


def convert(
    checkpoint: Path,
    name: str,
    hints: UserHints,
    config: dict[str, Any] | None,
    folder: Path,
    *,
    source: str | None = None,
    choice: str | None = None,
) -> Bundle:
    """Write one checkpoint as a bundle into `folder`, which must not exist.

    Args:
        checkpoint: The file.
        name: Name of the law.
        hints: What the user knows about the law.
        config: The trainer's config; None reads the one inside the checkpoint, if any.
        folder: Folder of the bundle.
        source: Original name of the file, if it is not that of `checkpoint`.
        choice: Why this file was chosen; recorded in the provenance.

    Raises:
        Problem: 422, if the checkpoint is not usable; 413, if its weights are too large.
    """
    with open_torch_file(checkpoint) as file:
        infos, skipped = split_weights(file.content)
        shapes = {key: info.shape for key, info in infos.items()}
        identity = identify(shapes, hints, config or _embedded_config(file.content))
        provenance = {
            "imported_from": source or checkpoint.name,
            "sha256": _sha256(checkpoint),
            "importer": __version__,
            **({"choice": choice} if choice else {}),
            **_choice_of_weights(file.content),
            **_training_facts(file.content, config),
            **({"skipped": _printable(skipped)} if skipped else {}),
            **({"skipped_types": _printable(file.skipped)} if file.skipped else {}),
        }
        manifest = _manifest({"name": name, **identity, "provenance": provenance})
        check_shapes(manifest, shapes)
        size = 4 * sum(prod(shape) for shape in shapes.values())
        if size > LIMITS.law_bytes:
            raise Problem(413, "Too large", f"the weights take {size} bytes in float32; at most {LIMITS.law_bytes}")
        weights = {key: _float32(file, key, info) for key, info in infos.items()}
    folder.mkdir(parents=True)
    save_file(weights, folder / WEIGHTS)
    (folder / MANIFEST).write_text(json.dumps(manifest.model_dump(exclude_defaults=True), indent=2) + "\n")
    return read_bundle(folder)


def split_weights(content: Any) -> tuple[dict[str, TensorInfo], list[str]]:
    """Separate the weights of the law from everything else in a saved object.

    A running average of the weights is taken in place of the weights themselves, since trainers keep one to use it.
    Weights that it lacks, such as buffers, are those of the model.

    Args:
        content: A training checkpoint or a bare state dict.

    Returns:
        The weights by key, without the prefixes of wrappers, and the keys of what is skipped: other entries of the
        checkpoint, and entries of the state dict that are not tensors or belong to another module.

    Raises:
        Problem: 422, if there are no weights.
    """
    if isinstance(content, TensorInfo):
        raise Problem(422, TITLE, f"the file holds one tensor {list(content.shape)}: a state, not the weights of a law")
    if isinstance(content, Skipped):
        detail = f"the file holds an object made by {content.name!r}, not a state dict; nothing in it was run"
        raise Problem(422, TITLE, detail)
    if not isinstance(content, dict):
        raise Problem(422, TITLE, f"the file holds a {type(content).__name__}, not a state dict")
    holder, average = _holder(content), find_average(content)
    held = [key for key in (holder, average and average[0].split(".")[0]) if key]
    skipped = [str(key) for key in content if key not in held] if held else []
    if average is None:
        weights, others = _bare_weights(content[holder] if holder else content, holder)
        return weights, skipped + others
    weights, others = _bare_weights(average[1], average[0])
    if holder:
        weights = _bare_weights(content[holder], holder)[0] | weights
    return weights, skipped + others


def _holder(content: dict[Any, Any]) -> str | None:
    return next((key for key in _STATE_DICT_KEYS if isinstance(content.get(key), dict)), None)


def _choice_of_weights(content: Any) -> dict[str, str]:
    """Return the sentence of the provenance that says which weights were taken, where there were two."""
    if (average := find_average(content)) is None:
        return {}
    holder = _holder(content)
    return {"weights": f"{average[0]}, a running average" + (f", not {holder}" if holder else "")}


def _bare_weights(state: dict[Any, Any], holder: str | None) -> tuple[dict[str, TensorInfo], list[str]]:
    """Return the tensors of a state dict by key, without the prefixes of wrappers, and the keys of all else in it.

    Raises:
        Problem: 422, if there are no weights, or a key occurs twice.
    """
    skipped: list[str] = []
    tensors = {key: value for key, value in state.items() if isinstance(key, str) and isinstance(value, TensorInfo)}
    if not tensors:
        keys = ", ".join(_shown_entry(key, value) for key, value in list(state.items())[:10]) or "none"
        where = holder or "the file, which has neither model_state_dict nor state_dict,"
        raise Problem(422, TITLE, f"{where} holds no tensors; its entries: {keys}")
    if not holder and "psi" in state:
        raise Problem(422, TITLE, "the file holds psi: the state of an engine, not the weights of a law")
    is_lightning = any(key.startswith(_LIGHTNING) for key in tensors)
    weights: dict[str, TensorInfo] = {}
    for key, value in state.items():
        bare = _without_prefixes(key) if key in tensors else None
        if bare is None or bare == _AVERAGED or (is_lightning and not key.startswith(_LIGHTNING)):
            skipped.append(str(key))
            continue
        if bare in weights:
            raise Problem(422, TITLE, f"the key {bare!r} occurs twice, once as {key!r}")
        weights[bare] = value
    return weights, skipped


def _shown_entry(key: Any, value: Any) -> str:
    made = f" (made by {value.name}; nothing in it was run)" if isinstance(value, Skipped) else ""
    return f"{str(key)[:40]}{made}"


def _printable(names: Sequence[str]) -> list[str]:
    """Shorten and escape names from an untrusted file, so that a manifest can hold them."""
    shown = [name[:80].encode("unicode_escape").decode("ascii") for name in names[:_MAX_NAMES]]
    return shown + ([f"… and {len(names) - _MAX_NAMES} more"] if len(names) > _MAX_NAMES else [])


def _without_prefixes(key: str) -> str:
    while prefix := next((p for p in PREFIXES if key.startswith(p)), None):
        key = key.removeprefix(prefix)
    return key


def _float32(file: TorchFile, key: str, info: TensorInfo) -> NDArray[np.float32]:
    if info.dtype not in _REAL:
        raise Problem(422, TITLE, f"{key!r} has type {info.dtype}; weights are real numbers")
    array = file.array(info)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite and is refused below
        values = array.astype(np.float32)
    if not np.isfinite(values).all():
        raise Problem(422, TITLE, f"{key!r} has values that are not finite in float32")
    return values


def _manifest(fields: dict[str, Any]) -> Manifest:
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        detail = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise Problem(422, TITLE, detail) from error


def _embedded_config(content: Any) -> dict[str, Any] | None:
    """Return the config that trainers of version 3, or Lightning as hyper-parameters, put into the checkpoint."""
    if not isinstance(content, dict):
        return None
    named = {"model_state_dict": "config", "state_dict": "hyper_parameters"}
    found = next((content.get(config) for state, config in named.items() if state in content), None)
    return found if isinstance(found, dict) else None


def _training_facts(content: Any, config: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return facts about the training for the provenance: episode, experiment, grid, gamma."""
    found: dict[str, Any] = {}
    episode = content.get("episode") if isinstance(content, dict) else None
    if type(episode) is int:
        found["episode"] = episode
    config = config or _embedded_config(content) or {}
    for key in ("EXPERIMENT_NAME", "GRID_SIZE_TRAINING", "GAMMA_DECAY"):
        value = config.get(key)
        if isinstance(value, str | int | float) and len(str(value)) <= 200 and str(value) not in ("nan", "inf", "-inf"):
            found[key.lower()] = value
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
