"""Finds the running average of weights (EMA) that trainers save beside the weights, or in their place. Torch-free."""

from __future__ import annotations

from typing import Any

from leym.laws.importing.torch_file import TensorInfo

_KEYS = ("ema_state_dict", "state_dict_ema", "model_ema", "ema")  # of a checkpoint; the first that holds weights counts
_INSIDE = ("state_dict", "module", "shadow")  # keys that may hold the state dict within that entry


def find_average(content: Any) -> tuple[str, dict[Any, Any]] | None:
    """Return the key of the averaged weights in a checkpoint, and their state dict; None if it has none.

    An average that is a list without keys, as torch_ema's `shadow_params`, cannot be assigned to layers: it counts as
    none, and is skipped like any other entry.
    """
    if not isinstance(content, dict):
        return None
    for key in _KEYS:
        outer = content.get(key)
        if not isinstance(outer, dict):
            continue
        for name, state in (*((f"{key}.{inner}", outer.get(inner)) for inner in _INSIDE), (key, outer)):
            if isinstance(state, dict) and any(isinstance(value, TensorInfo) for value in state.values()):
                return name, state
    return None
