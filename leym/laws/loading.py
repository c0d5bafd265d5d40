"""Loads a bundle into tensors and modules: strictly, without pickle, and without choosing anything by class name."""

from __future__ import annotations

from importlib import import_module

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from leym.contract.problems import Problem
from leym.laws.bundle import WEIGHTS, Bundle, Manifest


def empty_network(manifest: Manifest) -> nn.Module:
    """Build the network of a law on the meta device, without weights."""
    module, _, name = manifest.architecture_info.network.partition(":")
    with torch.device("meta"):
        network_class = getattr(import_module(module), name)
        network: nn.Module = network_class(manifest.d_state, manifest.hidden_channels, **manifest.network_options)
    return network.eval().requires_grad_(False)


def load_weights(bundle: Bundle) -> dict[str, Tensor]:
    """Load the weights of a law as float32 on the CPU, and check them against its architecture.

    Raises:
        Problem: 422, listing every key that does not fit.
    """
    weights = load_file(bundle.path / WEIGHTS)
    check_weights(bundle.manifest, weights)
    return {key: value.float() for key, value in weights.items()}


def check_weights(manifest: Manifest, weights: dict[str, Tensor]) -> None:
    """Check that keys and shapes are exactly those of the architecture, and that every value is finite.

    Raises:
        Problem: 422, listing every key that does not fit.
    """
    expected = {key: tuple(value.shape) for key, value in empty_network(manifest).state_dict().items()}
    errors = [f"missing key {key!r}" for key in expected.keys() - weights.keys()]
    errors += [f"unexpected key {key!r}" for key in weights.keys() - expected.keys()]
    for key in sorted(expected.keys() & weights.keys()):
        if tuple(weights[key].shape) != expected[key]:
            errors.append(f"{key!r} has shape {tuple(weights[key].shape)}, expected {expected[key]}")
        elif not torch.isfinite(weights[key]).all():
            errors.append(f"{key!r} has values that are not finite")
    if errors:
        detail = f"{manifest.architecture} d={manifest.d_state} c={manifest.hidden_channels}: " + "; ".join(
            sorted(errors)
        )
        raise Problem(422, "Weights do not fit the law", detail)
