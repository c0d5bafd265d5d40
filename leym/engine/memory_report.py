"""Reports the bytes of a law, per layer and on the device (`leym laws inspect`).

Quantisation saves memory at rest. Resident on the device, every weight is dense in the operand dtype, so activations
and state decide the largest batch, which is why the report lists them separately.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import torch

from leym.engine.batch import Batch
from leym.engine.batch_size import BatchSizeTable
from leym.engine.delivery import LIMIT
from leym.engine.device import Device, pick_device
from leym.engine.run import BucketKey
from leym.engine.step.resident_law import ResidentLaw
from leym.laws.bundle import Bundle
from leym.laws.loading import load_weights
from leym.quantization.quantized_law import QuantizedLaw, quantize_law
from leym.settings import settings


@dataclass(frozen=True)
class LayerReport:
    """The format, the size and the error of one weight.

    Attributes:
        error: |decoded - original| / |original| in Frobenius norms; 0 for weights that are all zero.
    """

    key: str
    role: str
    format: str
    shape: tuple[int, ...]
    bytes_at_rest: int
    bytes_resident: int
    error: float


@dataclass(frozen=True)
class Memory:
    """The bytes of one bucket on the device.

    Attributes:
        activations: peak of a step, without state and weights; measured on CUDA, None elsewhere.
        frames_in_flight: bound on the frames of one job that wait for storage.
    """

    weights_at_rest: int
    weights_resident: int
    state: int
    activations: int | None
    frames_in_flight: int


def layers_of(law: QuantizedLaw, weights: dict[str, torch.Tensor], operands: torch.dtype) -> list[LayerReport]:
    """Report every weight of a law, in the order of its network."""
    resident = law.decode(operands)
    found = []
    for layer in law.layers:
        decoded, original = resident[layer.key], weights[layer.key]
        norm = original.norm().item()
        error = (decoded.float() - original).norm().item() / norm if norm else 0.0
        size = layer.encoded.nbytes
        found.append(LayerReport(layer.key, layer.role, layer.format, layer.shape, size, decoded.nbytes, error))
    return found


def memory_of(law: QuantizedLaw, device: Device, grid: tuple[int, int], slots: int) -> Memory:
    """Report the memory of a bucket whose `slots` are all taken. On CUDA a step is run to measure its activations."""
    resident = ResidentLaw(law, device, on_degraded=lambda _: None)
    table = BatchSizeTable(device, settings().batch_sizes_file)
    batch_size = table.batch_size(law.bundle.manifest, law.precision, grid, slots)
    batch = Batch(resident, BucketKey(law.bundle.digest, law.precision, grid), batch_size)
    each = sum(t.nbytes for t in (batch.state, batch.previous, batch.origin, batch.tensors.memory))
    return Memory(
        weights_at_rest=law.bytes_at_rest,
        weights_resident=resident.bytes_resident,
        state=each * -(-slots // batch_size),
        activations=_activations(batch) if device.is_cuda else None,
        frames_in_flight=LIMIT,
    )


@torch.no_grad()
def _activations(batch: Batch) -> int:
    batch.runner.run(1)  # the first one includes allocations that libraries keep
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    batch.runner.run(1)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def inspect(bundle: Bundle, precision: str, grid: tuple[int, int], slots: int) -> dict[str, Any]:
    """Report layers, sums per role, device and memory of a law, as one JSON object."""
    device = pick_device()
    weights = load_weights(bundle)
    law = quantize_law(bundle, weights, precision, device.operands)
    memory = asdict(memory_of(law, device, grid, slots)) | {"grid": list(grid), "slots": slots}
    return weigh(law, weights, device) | {"memory": memory}


def weigh(law: QuantizedLaw, weights: dict[str, torch.Tensor], device: Device) -> dict[str, Any]:
    """Report the layers of a quantised law as JSON.

    Args:
        law: the quantised law.
        weights: its float32 weights before quantisation.
        device: device whose operand dtype the weights are decoded to.
    """
    precision = law.precision
    operands = torch.float32 if precision == "fp32" else device.operands
    layers = layers_of(law, weights, operands)
    roles: dict[str, dict[str, int]] = {}
    for layer in layers:
        total = roles.setdefault(layer.role, {"parameters": 0, "bytes_at_rest": 0, "bytes_resident": 0})
        total["parameters"] += prod(layer.shape)
        total["bytes_at_rest"] += layer.bytes_at_rest
        total["bytes_resident"] += layer.bytes_resident
    return {
        "law": law.bundle.ref,
        "precision": precision,
        "device": device.kind,
        "layers": [asdict(layer) for layer in layers],
        "roles": roles,
    }
