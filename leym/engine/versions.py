"""Versions of the software that computes results."""

from __future__ import annotations

from platform import python_version

import numpy as np
import torch

from leym import __version__


def versions() -> dict[str, str]:
    """Return the versions of this software, PyTorch, NumPy and Python."""
    return {
        "leym": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": python_version(),
    }
