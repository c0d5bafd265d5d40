"""The network of a law with some of its weights quantised, and what goes in and out of its layers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from leym.laws.bundle import Bundle
from leym.laws.loading import empty_network, load_weights
from leym.quantization.nf4 import NF4
from leym.quantization.policy import format_of, role_of
from leym.quantization.quantized_law import encode
from leym.training.calibration.layers import Layer
from leym.training.calibration.states import Visited

CHUNK = 16  # universes that a layer is observed on at once


def network_of(law: Bundle, weights: Mapping[str, Tensor]) -> nn.Module:
    """Return the law's network with copies of these weights, in float32 on the CPU."""
    network = empty_network(law.manifest)
    network.load_state_dict({key: value.clone() for key, value in weights.items()}, strict=True, assign=True)
    return network.requires_grad_(False)


def teacher(law: Bundle) -> nn.Module:
    """Return the law's network in fp32."""
    return network_of(law, load_weights(law))


def student(law: Bundle, precision: str = "nf4") -> nn.Module:
    """Return the network with the weights that a precision stores in anything but NF4 as it decodes them.

    The others are those of fp32: an arm quantises them one by one. "16" stands for float32 here, so that the result
    does not depend on the device.
    """
    weights = {}
    for key, weight in load_weights(law).items():
        chosen = format_of(law.manifest, precision, key, role_of(law.manifest, key, tuple(weight.shape)))
        weights[key] = weight if chosen == "nf4" else encode(chosen, weight, torch.float32).decode(torch.float32)
    return network_of(law, weights)


def called_modules(law: Bundle, network: nn.Module, states: Visited) -> list[tuple[str, nn.Module]]:
    """Return the modules that hold weights of their own in the order in which a step calls them, by name."""
    names = {module: name for name, module in network.named_modules() if any(True for _ in module.parameters(False))}
    order: list[nn.Module] = []
    hooks = [module.register_forward_pre_hook(lambda m, _: order.append(m)) for module in names]
    try:
        network(*states[:1].inputs(law.manifest))
    finally:
        for hook in hooks:
            hook.remove()
    return [(names[module], module) for module in dict.fromkeys(order)]


def nf4_layer(law: Bundle, name: str, module: nn.Module, precision: str = "nf4") -> Layer | None:
    """Return the layer of a module whose kernel the precision stores in NF4, else None."""
    key = f"{name}.weight"
    if key not in law.tensors or not isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return None
    role = role_of(law.manifest, key, law.tensors[key][1])
    return Layer(key, module) if format_of(law.manifest, precision, key, role) == "nf4" else None


class _Reached(Exception):  # noqa: N818  it ends a forward pass early and is no error
    pass


def observed(
    law: Bundle, network: nn.Module, module: nn.Module, states: Visited, *, output: bool = False
) -> Iterator[Tensor]:
    """Yield the input of a module, or its output, float32, for chunks of the states, one chunk after another."""
    for begin in range(0, len(states), CHUNK):
        yield _observe(module, network, states[begin : begin + CHUNK].inputs(law.manifest), output)


def _observe(module: nn.Module, network: nn.Module, inputs: Sequence[Tensor], output: bool) -> Tensor:
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> None:
        found.append(tensor.float())
        raise _Reached

    if output:
        hook = module.register_forward_hook(lambda _, __, y: keep(y))
    else:
        hook = module.register_forward_pre_hook(lambda _, given: keep(given[0]))
    try:
        network(*inputs)
    except _Reached:
        return found[0]
    finally:
        hook.remove()
    raise ValueError(f"a step does not call {module}")


def hessian(law: Bundle, network: nn.Module, layer: Layer, states: Visited) -> Tensor:
    """Return the mean of u uᵀ over all input vectors u of a layer: float64 [K, K]."""
    total, count = torch.zeros(()), 0
    for x in observed(law, network, layer.module, states):
        u = layer.vectors(x)
        total, count = total + (u.T @ u).double(), count + len(u)
    return total / count


def moments(
    law: Bundle, teacher: nn.Module, student: nn.Module, layer: Layer, states: Visited
) -> tuple[Tensor, Tensor]:
    """Return the means of u uᵀ and of v uᵀ: u enters a layer of the student, v the same layer of the teacher.

    Both are float64 [K, K].
    """
    parent = dict(teacher.named_modules())[layer.key.removesuffix(".weight")]
    own, cross, count = torch.zeros(()), torch.zeros(()), 0
    for x, y in zip(observed(law, student, layer.module, states), observed(law, teacher, parent, states), strict=True):
        u, v = layer.vectors(x), layer.vectors(y)
        own, cross, count = own + (u.T @ u).double(), cross + (v.T @ u).double(), count + len(u)
    return own / count, cross / count


def set_code(layer: Layer, code: NF4) -> None:
    """Give the module of a layer the kernel that a code stands for."""
    layer.module.weight.data = code.decode(torch.float32).contiguous()
