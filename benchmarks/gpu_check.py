"""Everything that waits for a GPU, in one run: is it right, how fast is it, and what does it take.

    python -m benchmarks.gpu_check [--dry-run] [--seconds 1.0] [--out FILE.json]

Needs torch, Triton, numpy, safetensors, pydantic and bitsandbytes, neither a broker nor a database. `--dry-run` plays
the same sections small, on whatever device there is: it shows that the script runs, and its figures mean nothing. A
section that fails is written down with its error, and the others go on.

    ceilings      FLOP/s of a matrix product per dtype, bytes/s of a copy
    weights       decoded weights on the device against those on the CPU: equal bits
    steps         the device's step against float32 on the CPU, per law and kernel
    captures      bursts of any grouping, captured and not: equal bits; graphs counted
    kernels       per-cell laws: the fused kernel against torch.compile
    blocks        the fused kernel with other numbers of cells and warps per program: cell-steps/s, and equal bits
    table         law x grid x batch size: cell-steps/s, share of the ceilings, over the eager float32 batch-1 loop
    bursts        K = 1, 8, 32 steps per graph, and no graph
    memory        peak per precision
    batch_sizes   which batch sizes give the same bits, per precision
    overlap       the engine with a frame every 10 steps, ahead and not: cell-steps/s, idle share, equal frames
    members       a run of many members: the engine over its step, and the host's time per burst at 16 to 4,096 slots
    full          the engine with next to no memory: what it stepped down to, and that every universe came to its end
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.common import LAWS, eager_loop, make_law, rate
from benchmarks.members import engine_alone, host_burst_s
from leym.contract.spec import ComplexNoise, Recording
from leym.engine.batch import Batch
from leym.engine.benchmark import Countdown
from leym.engine.device import Device, pick_device
from leym.engine.engine import Engine
from leym.engine.loading import LawCache
from leym.engine.roofline import Ceilings, calls_per_s, cost_of, matmul_flops
from leym.engine.run import BucketKey, Run
from leym.engine.step import cuda_graphs
from leym.engine.step.resident_law import ResidentLaw
from leym.laws.bundle import Bundle

FULL: dict[str, Any] = {"grids": (64, 128, 256, 512), "batch_sizes": (1, 8, 32, 128), "cells": 2**21}
SMALL: dict[str, Any] = {"grids": (16,), "batch_sizes": (1, 2), "cells": 2**12}
PRECISIONS = ("nf4", "int8", "bf16", "fp32")
PER_CELL = ("nca", "deep_qca", "mlp")
CPU = Device(torch.device("cpu"), torch.float32, "cpu")


class Frames(Countdown):
    """Keeps one digest of all frames."""

    def __init__(self) -> None:
        super().__init__()
        self.digest = hashlib.sha256()

    def frames(self, step: int, places: Any, fields: dict[str, Any], observables: Any) -> None:
        for array in fields.values():
            self.digest.update(array.tobytes())


class Check:
    """The sections share a device, laws and sizes."""

    def __init__(self, folder: Path, *, dry: bool, seconds: float):
        self.device, self.sizes, self.seconds = pick_device(), SMALL if dry else FULL, seconds
        self.laws = {name: make_law(name, folder) for name in LAWS}
        self.small = self.sizes["grids"][0]

    def resident(self, name: str, precision: str, *, fused: bool = True, device: Device | None = None) -> ResidentLaw:
        law = LawCache(device or self.device, compile=True).resident(self.laws[name], precision)
        if not fused and law.kernel == "fused":
            law._fused, law._step_, law.kernel = None, None, "inductor"
        return law

    def batch(self, law: ResidentLaw, side: int, size: int, *, warm: bool = True) -> Batch:
        """Warm, and full of universes."""
        batch = Batch(law, BucketKey(law.bundle.digest, law.precision, (side, side)), size)
        if warm:
            batch.warm()
        for i in range(size):
            batch.admit(a_run(law.bundle, law.precision, side, seed=i))
        return batch

    def speed(self, batch: Batch, steps: int = 32) -> float:
        """Cell-steps/s."""
        bursts_per_s = calls_per_s(lambda: batch.runner.run(steps), self.device, self.seconds)
        return bursts_per_s * steps * batch.size * batch.grid[0] * batch.grid[1]

    # --- sections

    def ceilings(self) -> dict[str, Any]:
        found = Ceilings.measure(self.device, self.seconds).as_dict()
        dtypes = (torch.bfloat16, torch.float16, torch.float32)
        return found | {str(d): matmul_flops(self.device, d, self.seconds) / 1e9 for d in dtypes}

    def weights(self) -> dict[str, bool]:
        """The same dtype on both sides: what is compared is decoding, not the choice of operands."""
        there = Device(self.device.torch, torch.bfloat16, self.device.name)
        here = Device(CPU.torch, torch.bfloat16, "cpu")
        found = {}
        for name, law in self.laws.items():
            for precision in PRECISIONS:
                pair = [LawCache(d, compile=False).resident(law, precision).network.state_dict() for d in (there, here)]
                found[f"{name} {precision}"] = all(torch.equal(pair[0][key].cpu(), pair[1][key]) for key in pair[1])
        return found

    def steps(self) -> dict[str, float]:
        """Largest difference of one step to the eager float32 step of the CPU, from the same state."""
        found = {}
        for name in self.laws:
            reference = self.batch(LawCache(CPU, compile=False).resident(self.laws[name], "fp32"), self.small, 2)
            reference.runner.run(1)
            for precision in ("fp32", "bf16"):
                for fused in (True, False) if name in PER_CELL else (False,):
                    batch = self.batch(self.resident(name, precision, fused=fused), self.small, 2)
                    batch.runner.run(1)
                    key = f"{name} {precision} {batch.law.kernel}"
                    found[key] = (batch.state.cpu() - reference.state).abs().max().item()
        return found

    def captures(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in self.laws:
            law = self.resident(name, "nf4")
            digests = set()
            for grouping in ((77,), (1,) * 77, (32, 32, 13), (40, 37)):
                batch = self.batch(law, self.small, 2)
                for steps in grouping:
                    batch.runner.run(steps)
                digests.add(digest(batch.state))
            law._capture = None
            batch = self.batch(law, self.small, 2)
            batch.runner.run(77)
            digests.add(digest(batch.state))
            found[name] = {"kernel": law.kernel, "equal": len(digests) == 1}
        return found | {"graphs per batch": len(cuda_graphs.LENGTHS) if self.device.is_cuda else 0}

    def kernels(self) -> dict[str, Any]:
        found = {}
        for name in PER_CELL:
            for side in self.sizes["grids"][:3]:
                size = self.batch_size(side)
                speeds = {
                    fused: self.speed(self.batch(self.resident(name, "bf16", fused=fused), side, size))
                    for fused in (True, False)
                }
                found[f"{name} {side}x{side} x{size}"] = {
                    "fused": speeds[True],
                    "torch.compile": speeds[False],
                    "ratio": speeds[True] / speeds[False],
                }
        return found

    def blocks(self) -> dict[str, Any]:
        if not self.device.is_cuda:
            return {"not measured": "no CUDA"}
        from leym.engine.step.per_cell_triton import TritonCells

        found: dict[str, Any] = {}
        for name in PER_CELL:
            law, digests = self.resident(name, "nf4"), set()
            for block in (32, 64, 128, 256):
                for warps in (4, 8):
                    law._fused = TritonCells(law.network.per_cell_weights(), law.operands, block=block, warps=warps)
                    batch = self.batch(law, 128, self.batch_size(128))
                    batch.runner.run(20)
                    digests.add(digest(batch.state[0]))
                    found[f"{name} {block} cells, {warps} warps"] = self.speed(batch)
            found[f"{name} equal bits"] = len(digests) == 1
        return found

    def table(self) -> list[dict[str, Any]]:
        ceilings, rows = Ceilings.measure(self.device, self.seconds), []
        for name, bundle in self.laws.items():
            eager = {}
            for side in self.sizes["grids"]:
                eager[side] = rate(eager_loop(bundle, (side, side)), seconds=self.seconds) * side * side
            for side, size in self.shapes():
                law = self.resident(name, "nf4")
                speed = self.speed(self.batch(law, side, size))
                cost = cost_of(law.network, bundle.manifest, (side, side), size)
                row = {"law": name, "grid": side, "size": size, "kernel": law.kernel, "cell_steps_per_s": speed}
                row |= {"vs_eager": speed / eager[side], "compute": speed * cost.flops / ceilings.of(law.operands)}
                rows.append(row | {"memory": speed * cost.bytes / ceilings.bytes_per_s})
                print(json.dumps(row), file=sys.stderr, flush=True)
        return rows

    def bursts(self) -> dict[str, float]:
        found, kept = {}, cuda_graphs.LENGTHS
        for name in ("unet_unitary", "nca"):
            for k in (1, 8, 32):
                cuda_graphs.LENGTHS = (k,) if k == 1 else (k, 1)
                law = self.resident(name, "nf4")
                found[f"{name} K={k}"] = self.speed(self.batch(law, self.small, self.batch_size(self.small)))
            cuda_graphs.LENGTHS = kept
            law = self.resident(name, "nf4")
            law._capture = None
            found[f"{name} no graph"] = self.speed(self.batch(law, self.small, self.batch_size(self.small)))
        return found

    def memory(self) -> dict[str, Any]:
        if not self.device.is_cuda:
            return {"not measured": "no CUDA"}
        found = {}
        for name in self.laws:
            for precision in PRECISIONS:
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()
                before = torch.cuda.memory_allocated()
                law = self.resident(name, precision)
                self.batch(law, 128, 8).runner.run(41)
                torch.cuda.synchronize()
                found[f"{name} {precision}"] = {
                    "peak": torch.cuda.max_memory_allocated() - before,
                    "at_rest": law.bytes_at_rest,
                    "resident": law.bytes_resident,
                }
        return found

    def batch_sizes(self) -> dict[str, list[list[int]]]:
        """Group the batch sizes that give the same bits."""
        found = {}
        for name in self.laws:
            for precision in ("nf4", "fp32"):
                groups: dict[str, list[int]] = {}
                for size in self.sizes["batch_sizes"]:
                    batch = self.batch(self.resident(name, precision), self.small, size)
                    batch.runner.run(20)
                    groups.setdefault(digest(batch.state[0]), []).append(size)
                found[f"{name} {precision}"] = list(groups.values())
        return found

    def overlap(self) -> dict[str, Any]:
        found: dict[str, Any] = {}
        slots = 2 * self.batch_size(self.small)
        steps = 10 * max(2, int(self.seconds * 50))
        for name in ("unet_unitary", "nca"):
            digests = []
            for ahead in (False, True):
                engine = Engine(slots, ahead=ahead)
                engine.start()
                engine.warm(self.laws[name], "nf4", (self.small, self.small))
                sinks = self.evolve(engine, name, self.small, slots, steps)
                engine.stop()
                info = engine.info()
                digests.append([sink.digest.hexdigest() for sink in sinks])
                speed = info["cell_steps"] / info["busy_s"]
                found[f"{name} {'ahead' if ahead else 'at once'}"] = {
                    "cell_steps_per_s": speed,
                    "idle_share": info["idle_share"],
                }
            found[f"{name} equal frames"] = digests[0] == digests[1]
        return found

    def members(self) -> dict[str, Any]:
        """Measure runs of many members: the engine over its step, and the host's time per burst by slots."""
        alone, kernel = engine_alone(self.laws["nca"], 8, self.seconds)
        host = {slots: host_burst_s(slots) for slots in ((16, 64) if self.sizes is SMALL else (16, 256, 4096))}
        return {"cell_steps_per_s": alone, "engine_vs_kernel": alone / kernel, "host_burst_s": host}

    def full(self) -> dict[str, Any]:
        if not self.device.is_cuda:
            return {"not measured": "no CUDA"}
        torch.cuda.empty_cache()
        torch.cuda.set_per_process_memory_fraction(0.01)
        try:
            engine = Engine(64)
            engine.start()
            sinks = self.evolve(engine, "unet_unitary", 256, 64, 40)
            engine.stop()
        finally:
            torch.cuda.set_per_process_memory_fraction(1.0)
        problems = [sink.problem.detail for sink in sinks if sink.problem]
        return {"problems": problems[:1], "buckets": engine.info()["buckets"], "degraded": engine.info()["degraded"]}

    def evolve(self, engine: Engine, name: str, side: int, n: int, steps: int) -> list[Frames]:
        record = (Recording(field="phase", every=10),)
        sinks = [Frames() for _ in range(n)]
        for i, sink in enumerate(sinks):
            start = ComplexNoise()
            engine.submit(Run.one(str(i), self.laws[name], "nf4", (side, side), steps, 0.01, i, start, sink, record))
        for sink in sinks:
            sink.over.wait()
        return sinks

    def batch_size(self, side: int) -> int:
        return max(1, self.sizes["cells"] // side**2 // 4)

    def shapes(self) -> Iterator[tuple[int, int]]:
        for side in self.sizes["grids"]:
            for size in self.sizes["batch_sizes"]:
                if side * side * size <= self.sizes["cells"]:
                    yield side, size


def a_run(law: Bundle, precision: str, side: int, seed: int) -> Run:
    return Run.one(str(seed), law, precision, (side, side), 10**9, 0.01, seed, ComplexNoise(), Countdown())


def digest(tensor: torch.Tensor) -> str:
    return hashlib.sha256(tensor.cpu().contiguous().numpy().tobytes()).hexdigest()


SECTIONS = ("ceilings", "weights", "steps", "captures", "kernels", "blocks", "bursts", "memory", "batch_sizes")
SECTIONS += ("overlap", "members", "full", "table")  # the longest is the last


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--dry-run", action="store_true")
    options.add_argument("--seconds", type=float, default=1.0, help="per figure")
    options.add_argument("--only", nargs="*", choices=SECTIONS, default=SECTIONS)
    options.add_argument("--out", type=Path)
    chosen = options.parse_args()
    seconds = 0.01 if chosen.dry_run else chosen.seconds
    failed = False
    with TemporaryDirectory() as folder, torch.no_grad():
        check = Check(Path(folder), dry=chosen.dry_run, seconds=seconds)
        found: dict[str, Any] = {"device": check.device.kind, "dry_run": chosen.dry_run}
        for name in chosen.only:
            try:
                found[name] = getattr(check, name)()
            except Exception as error:  # noqa: BLE001 -- the lease is short: the other sections are worth having
                failed = True
                found[name] = {"error": repr(error), "where": traceback.format_exc()}
            print(json.dumps({name: found[name]}), flush=True)
            if chosen.out:
                chosen.out.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
