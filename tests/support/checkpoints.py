"""Checkpoint files for tests: real ones by torch.save, and those that somebody made up."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from leym.contract.problems import Problem
from leym.laws.bundle import Manifest
from leym.laws.importing.convert import import_law
from tests.support.paths import ORACLE

EXPERIMENT = ORACLE / "experiment" / "UNET_UNITARY-d4-h8-g16-lr1e-4"
CHECKPOINT = EXPERIMENT / "checkpoint_ep100.pth"
REQUIRED = {"SNN_UNET": {"antialias": False}}


def weights(architecture: str, d: int, c: int, **options: Any) -> dict[str, Any]:
    """A state dict (torch tensors) as the network of this architecture has it."""
    import torch

    from leym.laws.architectures import architectures
    from leym.laws.loading import empty_network

    kind = architectures()[architecture]
    manifest = Manifest(
        name="x", architecture=architecture, d_state=d, hidden_channels=c, form=kind.form, options=options
    )
    torch.manual_seed(d + c)
    return {key: torch.randn(value.shape) * 0.1 for key, value in empty_network(manifest).state_dict().items()}


def save(path: Path, content: Any, **options: Any) -> Path:
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path, **options)
    return path


def zipped_pickle(path: Path, pickled: bytes, **entries: bytes) -> Path:
    """A file in torch's format with this pickle in it; entries: further ones, e.g. **{"data/0": b"…"}."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", b"little")
        for name, data in entries.items():
            archive.writestr(f"archive/{name}", data)
    return path


class Calls:
    """Whoever unpickles this calls `function`."""

    def __init__(self, function: Any, *arguments: Any):
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def pickled(content: Any, protocol: int = 2) -> bytes:
    return pickle.dumps(content, protocol=protocol)


def same(found: np.ndarray, tensor: Any) -> bool:
    return found.dtype == np.float32 and np.array_equal(found, tensor.float().numpy())


def refused(status: int, *words: str, **call: Any) -> Problem:
    """The refusal of an import, which names these words."""
    with pytest.raises(Problem) as refusal:
        import_law(**call)
    assert refusal.value.status == status
    for word in words:
        assert word in refusal.value.detail, refusal.value.detail
    return refusal.value
