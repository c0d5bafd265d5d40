"""What every benchmark shares: laws, the machine's ceilings, the eager baseline, and the words beside a figure."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from leym.contract.spec import ComplexNoise
from leym.engine.device import pick_device
from leym.engine.roofline import Cost, calls_per_s, copied_bytes, cost_of, matmul_flops
from leym.engine.run import initial_state
from leym.laws.bundle import MANIFEST, WEIGHTS, Bundle, Manifest, read_bundle
from leym.laws.loading import empty_network, load_weights
from leym.physics.step import step, to_real

LAWS = {
    "unet_unitary": {"architecture": "UNET_UNITARY", "d_state": 8, "hidden_channels": 32, "form": "diagonal"},
    "deep_qca": {"architecture": "DEEP_QCA", "d_state": 8, "hidden_channels": 128, "form": "additive"},
    "nca": {"architecture": "NCA", "d_state": 8, "hidden_channels": 128, "form": "additive"},
    "mlp": {"architecture": "MLP", "d_state": 8, "hidden_channels": 128, "form": "additive"},
}


def make_law(name: str, folder: Path) -> Bundle:
    """A law of LAWS with out-bias 0 and out-weight std 1: alive, for a fixed point would tell nothing."""
    manifest = Manifest(name=name, **LAWS[name])
    torch.manual_seed(0)
    network = type(empty_network(manifest))(manifest.d_state, manifest.hidden_channels, **manifest.network_options)
    head = network.get_submodule(manifest.architecture_info.head.rstrip("."))
    assert isinstance(head, torch.nn.Conv2d)
    assert head.bias is not None
    torch.nn.init.normal_(head.weight)
    torch.nn.init.zeros_(head.bias)
    (folder / name).mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), folder / name / WEIGHTS)
    (folder / name / MANIFEST).write_text(json.dumps(manifest.model_dump()))
    return read_bundle(folder / name)


def rate(call: Callable[[], Any], *, seconds: float = 1.0) -> float:
    """Calls per second: the best of three spells."""
    return calls_per_s(call, pick_device(), seconds)


def cost_per_cell_step(law: Bundle, grid: tuple[int, int] = (64, 64), batch_size: int = 1) -> Cost:
    """In the form that the engine runs."""
    network = empty_network(law.manifest)
    network.load_state_dict(load_weights(law), strict=True, assign=True)
    folded = getattr(network, "folded", None)
    return cost_of(folded() if folded else network, law.manifest, grid, batch_size)


def eager_loop(law: Bundle, grid: tuple[int, int]) -> Callable[[], None]:
    """The baseline: one universe, float32, no compiler, one step per call, as the Atheria project runs it."""
    device = pick_device().torch
    network = empty_network(law.manifest)
    network.load_state_dict({k: v.to(device) for k, v in load_weights(law).items()}, assign=True)
    psi = initial_state(ComplexNoise(), grid, law.manifest.d_state, seed=0)
    state, gamma = [to_real(torch.from_numpy(psi)[None]).to(device)], torch.full((1, 1, 1, 1), 0.01, device=device)

    @torch.no_grad()
    def one_step() -> None:
        state[0], _, _ = step(network, law.manifest.form, state[0], gamma)

    return one_step


def exponential_lengths(n: int, mean: int, every: int, seed: int = 0) -> list[int]:
    """Draw n run lengths from an exponential distribution, rounded up to multiples of `every`."""
    draws = np.random.default_rng(seed).exponential(mean, n)
    return [int(np.ceil(max(draw, 1) / every)) * every for draw in draws]


@dataclass(frozen=True)
class Machine:
    """The hardware and the ceilings measured on it in this run: FLOP/s of products, bytes/s of a copy."""

    device: str
    bf16_gemm: float
    fp32_gemm: float
    copy: float

    @classmethod
    def measure(cls) -> Machine:
        device = pick_device()
        bf16, fp32 = (matmul_flops(device, dtype, 1.0, n=2048) for dtype in (torch.bfloat16, torch.float32))
        return cls(device.kind, bf16, fp32, copied_bytes(device, 1.0))

    @property
    def operand_gemm(self) -> float:
        """The peak of the dtype that quantised laws are multiplied in here."""
        return self.bf16_gemm if pick_device().operands == torch.bfloat16 else self.fp32_gemm

    def roofline(self, cell_steps_per_s: float, cost: Cost) -> dict[str, float]:
        """What that is in FLOP/s of the network and in bytes/s that must move, and which shares of the ceilings."""
        flops, moved = cell_steps_per_s * cost.flops, cell_steps_per_s * cost.bytes
        shares = {"gemm_share": flops / self.bf16_gemm, "operand_gemm_share": flops / self.operand_gemm}
        return {"gflops": flops / 1e9, **shares, "gbytes_per_s": moved / 1e9, "copy_share": moved / self.copy}

    def as_dict(self) -> dict[str, Any]:
        return {
            "device": self.device,
            "python": platform.python_version(),
            "bf16_gemm_gflops": round(self.bf16_gemm / 1e9, 1),
            "fp32_gemm_gflops": round(self.fp32_gemm / 1e9, 1),
            "copy_gbytes_per_s": round(self.copy / 1e9, 1),
        }


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of equal keys as a Markdown table."""
    head = list(rows[0])
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(_shown(row[key]) for key in head) + " |" for row in rows])


def _shown(value: Any) -> str:
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 1000
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )
