"""From a checkpoint of the Atheria project to a law: read as data, judged strictly, written as a bundle. Torch-free."""

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
from leym.laws.importing.checks import check_shapes
from leym.laws.importing.experiment import find, read_config
from leym.laws.importing.identify import Said, identify
from leym.laws.importing.safe_pickle import Skipped
from leym.laws.importing.torch_file import Described, TorchFile, torch_file
from leym.laws.versions import publish, scratch, versions

TITLE = "Unusable checkpoint"
PREFIXES = ("_orig_mod.", "module.", "model.")  # what torch.compile, DataParallel (or an average) and Lightning add
_LIGHTNING = "model."  # the attribute of the LightningModule; its other attributes are losses, metrics and the like
_AVERAGED = "n_averaged"  # of torch.optim.swa_utils.AveragedModel: how many models the weights are a mean of
_NAMED = 40  # keys and names of what was skipped that the provenance holds
_HOLDERS = ("model_state_dict", "state_dict")
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
    """The law in a checkpoint or experiment folder, as the bundle `target`/`name`.

    The keywords say what neither config nor weights do, and are checked against both. Raises Problem 422 when the file
    is not what it should be or something must be said, 409 when `target` has another law of that name.
    """
    experiment = find(path)
    config = read_config(experiment.config) if experiment.config else None
    said = Said(architecture, d_state, hidden_channels, form, resize_antialias)
    with scratch(target) as work:
        made = convert(experiment.checkpoint, name, said, config, work / name, choice=experiment.choice)
        if publish(made.path, target / name):
            return read_bundle(target / name)
    there = list(versions(target / name))
    for law in there:
        if law.digest == made.digest:
            return law
    refs = ", ".join(law.ref for law in there) or "something that is no law"
    raise conflict(f"law {name!r} is there already, and is another one: {refs}")


def convert(
    checkpoint: Path,
    name: str,
    said: Said,
    config: dict[str, Any] | None,
    folder: Path,
    *,
    source: str | None = None,
    choice: str | None = None,
) -> Bundle:
    """One checkpoint file as a bundle in `folder`, which is made.

    source: what the file was called, if not as `checkpoint` is now; choice: why this file was taken.
    Raises Problem 422 (or 413).
    """
    with torch_file(checkpoint) as file:
        described, beside = weights_and_rest_of(file.content)
        shapes = {key: tensor.shape for key, tensor in described.items()}
        identity = identify(shapes, said, config or _config_in(file.content))
        provenance = {
            "imported_from": source or checkpoint.name,
            "sha256": _sha256(checkpoint),
            "importer": __version__,
            **({"choice": choice} if choice else {}),
            **_training(file.content, config),
            **({"skipped": _named(beside)} if beside else {}),
            **({"skipped_types": _named(file.skipped)} if file.skipped else {}),
        }
        manifest = _manifest({"name": name, **identity, "provenance": provenance})
        check_shapes(manifest, shapes)
        size = 4 * sum(prod(shape) for shape in shapes.values())
        if size > LIMITS.law_bytes:
            raise Problem(413, "Too large", f"the weights take {size} bytes in float32; at most {LIMITS.law_bytes}")
        weights = {key: _float32(file, key, tensor) for key, tensor in described.items()}
    folder.mkdir(parents=True)
    save_file(weights, folder / WEIGHTS)
    (folder / MANIFEST).write_text(json.dumps(manifest.model_dump(exclude_defaults=True), indent=2) + "\n")
    return read_bundle(folder)


def weights_of(content: Any) -> dict[str, Described]:
    """The state dict of what was saved, of a training checkpoint or bare, without wrappers' prefixes.

    Raises Problem 422.
    """
    return weights_and_rest_of(content)[0]


def weights_and_rest_of(content: Any) -> tuple[dict[str, Described], list[str]]:
    """The same, and the keys of everything beside the weights, which is skipped: other entries of the checkpoint, and
    entries of the state dict that are no tensors, or tensors of another module than the law.

    Raises Problem 422.
    """
    if isinstance(content, Described):
        raise Problem(422, TITLE, f"the file holds one tensor {list(content.shape)}: a state, not the weights of a law")
    if isinstance(content, Skipped):
        detail = f"the file holds what {content.name!r} makes, not a state dict: nothing of it was run"
        raise Problem(422, TITLE, detail)
    if not isinstance(content, dict):
        raise Problem(422, TITLE, f"the file holds a {type(content).__name__}, not a state dict")
    holder = next((key for key in _HOLDERS if isinstance(content.get(key), dict)), None)
    found = content[holder] if holder else content
    beside = [str(key) for key in content if key != holder] if holder else []
    tensors = {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, Described)}
    if not tensors:
        keys = ", ".join(_shown_entry(key, value) for key, value in list(found.items())[:10]) or "none"
        where = f"{holder} has" if holder else "neither model_state_dict nor state_dict is there, and the file has"
        raise Problem(422, TITLE, f"{where} only entries that are no tensors: {keys}")
    if not holder and "psi" in found:
        raise Problem(422, TITLE, "the file holds psi: the state of an engine, not the weights of a law")
    of_model = any(key.startswith(_LIGHTNING) for key in tensors)
    weights: dict[str, Described] = {}
    for key, value in found.items():
        bare = _bare(key) if key in tensors else None
        if bare is None or bare == _AVERAGED or (of_model and not key.startswith(_LIGHTNING)):
            beside.append(str(key))
            continue
        if bare in weights:
            raise Problem(422, TITLE, f"the key {bare!r} stands twice, once as {key!r}")
        weights[bare] = value
    return weights, beside


def _shown_entry(key: Any, value: Any) -> str:
    made = f" (made by {value.name}: nothing of it was run)" if isinstance(value, Skipped) else ""
    return f"{str(key)[:40]}{made}"


def _named(names: Sequence[str]) -> list[str]:
    """Names out of a stranger's file, for a manifest: few, short and printable."""
    shown = [name[:80].encode("unicode_escape").decode("ascii") for name in names[:_NAMED]]
    return shown + ([f"… and {len(names) - _NAMED} more"] if len(names) > _NAMED else [])


def _bare(key: str) -> str:
    while prefix := next((p for p in PREFIXES if key.startswith(p)), None):
        key = key.removeprefix(prefix)
    return key


def _float32(file: TorchFile, key: str, tensor: Described) -> NDArray[np.float32]:
    if tensor.dtype not in _REAL:
        raise Problem(422, TITLE, f"{key!r} is of type {tensor.dtype}; real numbers are needed")
    array = file.array(tensor)
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite and is refused below
        found = array.astype(np.float32)
    if not np.isfinite(found).all():
        raise Problem(422, TITLE, f"{key!r} has values that are not finite in float32")
    return found


def _manifest(fields: dict[str, Any]) -> Manifest:
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        detail = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise Problem(422, TITLE, detail) from error


def _config_in(content: Any) -> dict[str, Any] | None:
    """Trainers of version 3 put the config into the checkpoint."""
    found = content.get("config") if isinstance(content, dict) and "model_state_dict" in content else None
    return found if isinstance(found, dict) else None


def _training(content: Any, config: Mapping[str, Any] | None) -> dict[str, Any]:
    """What the files say of the training and readers may want to know."""
    found: dict[str, Any] = {}
    episode = content.get("episode") if isinstance(content, dict) else None
    if type(episode) is int:
        found["episode"] = episode
    config = config or _config_in(content) or {}
    for key in ("EXPERIMENT_NAME", "GRID_SIZE_TRAINING", "GAMMA_DECAY"):
        value = config.get(key)
        if isinstance(value, str | int | float) and len(str(value)) <= 200 and str(value) not in ("nan", "inf", "-inf"):
            found[key.lower()] = value
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
