"""Loads a bundle into tensors and modules: strictly, without pickle, and without choosing anything by class name."""

from __future__ import annotations

from importlib import import_module

import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from leym.contract.problems import Problem
from leym.laws.bundle import WEIGHTS, Bundle, Manifest
from leym.laws.own_codes import check_codes


def empty_network(manifest: Manifest) -> nn.Module:
    """Build the network of a law on the meta device, without weights."""
    module, _, name = manifest.architecture_info.network.partition(":")
    with torch.device("meta"):
        network_class = getattr(import_module(module), name)
        network: nn.Module = network_class(manifest.d_state, manifest.hidden_channels, **manifest.network_options)
    return network.eval().requires_grad_(False)


def load_weights(bundle: Bundle) -> dict[str, Tensor]:
    """Load the weights of a law as float32 on the CPU, and check them against its architecture.

    Codes of the law's own are checked too, and left out: see `load_codes`.

    Raises:
        Problem: 422, listing every key that does not fit.
    """
    tensors = load_file(bundle.path / WEIGHTS)
    check_weights(bundle.manifest, tensors)
    check_codes(bundle)
    return {key: tensors[key].float() for key in tensors if bundle.manifest.code_of(key) is None}


def load_codes(bundle: Bundle, precision: str) -> dict[str, Tensor]:
    """Load the law's own codes of a precision: empty if it has none.

    Returns:
        Key of a weight -> packed NF4, uint8, or a float32 weight that takes its place; key + ".absmax" -> float32
        scales (see `leym.laws.own_codes`). All on the CPU.

    Raises:
        Problem: 422, listing every tensor that does not fit.
    """
    check_codes(bundle)
    with safe_open(bundle.path / WEIGHTS, framework="pt") as file:
        codes: dict[str, Tensor] = {key: file.get_tensor(f"{precision}.{key}") for key in bundle.codes(precision)}
    if odd := [key for key, code in codes.items() if not torch.isfinite(code).all()]:
        detail = "; ".join(f"'{precision}.{key}' has values that are not finite" for key in sorted(odd))
        raise Problem(422, "Weights do not fit the law", f"{bundle.ref}: {detail}")
    return codes


def check_weights(manifest: Manifest, weights: dict[str, Tensor]) -> None:
    """Check that keys and shapes are exactly those of the architecture, and that every value is finite.

    Codes of the law's own, which `manifest` names, are ignored.

    Raises:
        Problem: 422, listing every key that does not fit.
    """
    weights = {key: value for key, value in weights.items() if manifest.code_of(key) is None}
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
