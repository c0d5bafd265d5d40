"""What a law weighs, per layer and on the device: `python -m leym.engine.memory_report LAW --precision nf4`.

Quantisation saves memory at rest. Awake, every weight is dense in the operand dtype, so the largest batch is decided by
activations and state, which is why they are told apart.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from math import prod
from typing import Any

import torch

from leym.common.typed_numbers import whole
from leym.contract.problems import Problem
from leym.contract.spec import LIMITS
from leym.engine.batch import Batch
from leym.engine.batch_size import Ladder
from leym.engine.delivery import LIMIT
from leym.engine.device import Device, pick_device
from leym.engine.run import BucketKey
from leym.engine.step.resident_law import ResidentLaw
from leym.laws.bundle import Bundle
from leym.laws.loading import load_weights
from leym.laws.registry import default_registry, resolve_precision
from leym.quantization.quantized_law import QuantizedLaw, quantize_law
from leym.settings import settings


@dataclass(frozen=True)
class LayerReport:
    """One weight. error: |decoded - original| / |original|, Frobenius norms; 0 for weights of zeros."""

    key: str
    role: str
    format: str
    shape: tuple[int, ...]
    bytes_at_rest: int
    bytes_resident: int
    error: float


@dataclass(frozen=True)
class Memory:
    """Bytes of one bucket on the device. activations: the most that a step holds beside state and weights, measured on
    CUDA, unknown (None) elsewhere. frames_in_flight: the most that may wait for storage, per job."""

    weights_at_rest: int
    weights_resident: int
    state: int
    activations: int | None
    frames_in_flight: int


def layers_of(law: QuantizedLaw, weights: dict[str, torch.Tensor], operands: torch.dtype) -> list[LayerReport]:
    """Every weight of a law, in the order of its network."""
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
    """Of a bucket with all `slots` taken. On CUDA a step is run to measure its activations."""
    resident = ResidentLaw(law, device, on_degraded=lambda _: None)
    rung = Ladder(device, settings().ladder).rung(law.bundle.manifest, law.precision, grid, slots)
    batch = Batch(resident, BucketKey(law.bundle.digest, law.precision, grid), rung)
    each = sum(t.nbytes for t in (batch.state, batch.previous, batch.origin, batch.lanes.memory))
    return Memory(
        weights_at_rest=law.bytes_at_rest,
        weights_resident=resident.bytes_resident,
        state=each * -(-slots // rung),
        activations=_activations(batch) if device.is_cuda else None,
        frames_in_flight=LIMIT,
    )


@torch.no_grad()
def _activations(batch: Batch) -> int:
    batch.bursts.advance(1)  # the first one allocates what libraries keep
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    batch.bursts.advance(1)
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated() - before


def inspect(bundle: Bundle, precision: str, grid: tuple[int, int], slots: int) -> dict[str, Any]:
    """Both reports as JSON, with the device and the sums per role."""
    device = pick_device()
    weights = load_weights(bundle)
    law = quantize_law(bundle, weights, precision, device.operands)
    memory = asdict(memory_of(law, device, grid, slots)) | {"grid": list(grid), "slots": slots}
    return weigh(law, weights, device) | {"memory": memory}


def weigh(law: QuantizedLaw, weights: dict[str, torch.Tensor], device: Device) -> dict[str, Any]:
    """The report on layers as JSON. weights: float32, as they were before they were put to sleep."""
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


def show_layers(found: dict[str, Any]) -> None:
    """The report of `weigh`, on standard output."""
    print(f"{found['law']} {found['precision']} on {found['device']}\n")
    print(f"{'key':<36}{'role':<10}{'format':<8}{'at rest':>10}{'resident':>10}{'error':>9}")
    for layer in found["layers"]:
        sizes = f"{layer['bytes_at_rest']:>10,}{layer['bytes_resident']:>10,}"
        print(f"{layer['key']:<36}{layer['role']:<10}{layer['format']:<8}{sizes}{layer['error']:>9.4f}")
    print()
    for role, total in found["roles"].items():
        per = total["bytes_at_rest"] / total["parameters"]
        print(
            f"{role:<10}{total['parameters']:>12,} parameters{total['bytes_at_rest']:>12,} B at rest ({per:.3f} each)"
        )


def show(found: dict[str, Any]) -> None:
    show_layers(found)
    memory = found["memory"]
    print(f"\nmemory of {memory['slots']} slots of {memory['grid'][0]}x{memory['grid'][1]} cells, in bytes:")
    for name in ("weights_at_rest", "weights_resident", "state", "activations", "frames_in_flight"):
        value = memory[name]
        print(f"  {name.replace('_', ' '):<20}{'not measured here' if value is None else f'{value:,}':>20}")


def main() -> None:
    options = argparse.ArgumentParser(prog="leym laws inspect", description="What a law weighs, layer by layer.")
    options.add_argument("law", help="name or name@digest")
    options.add_argument("--precision", choices=("nf4", "int8", "bf16", "fp32", "auto"), default="nf4")
    options.add_argument("--grid", type=whole(*LIMITS.side), nargs=2, metavar=("H", "W"), default=(64, 64))
    options.add_argument("--slots", type=whole(1, 4096), default=8)
    options.add_argument("--json", action="store_true")
    chosen = options.parse_args()
    try:
        bundle = default_registry().resolve(chosen.law)
        precision = resolve_precision(bundle, chosen.precision)
        found = inspect(bundle, precision, tuple(chosen.grid), chosen.slots)
    except Problem as problem:
        sys.exit(f"leym: {problem.detail}")
    print(json.dumps(found)) if chosen.json else show(found)


if __name__ == "__main__":
    main()
