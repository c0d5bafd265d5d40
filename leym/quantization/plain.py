"""Plain storage: one float per weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Plain:
    """A tensor stored as it is, in one float dtype."""

    value: Tensor

    def decode(self, dtype: torch.dtype) -> Tensor:
        """Return the tensor in another dtype."""
        return self.value.to(dtype)

    @property
    def nbytes(self) -> int:
        """Bytes at rest."""
        return self.value.nbytes
