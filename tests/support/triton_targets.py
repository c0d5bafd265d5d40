"""The fused kernel compiled for GPUs that are not here: what it takes of them, as JSON. For test_cells_triton.

    python -m tests.support.triton_targets [--block 128] [--warps 8] [--operands float32]

Triton brings ptxas along, so nothing but running needs the GPU. A process of its own, since tests have the interpreter.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from typing import Any

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from leym.engine.step.per_cell_triton import BLOCK, WARPS, _step

CARDS = {"L4": 89, "H100": 90}
# d = 8, hidden 128
LAWS = {
    "NCA": {"F": 4, "LAYERS": 2, "DRAWS": True},
    "MLP": {"F": 0, "LAYERS": 3, "DRAWS": False},
    "DEEP_QCA": {"F": 1, "LAYERS": 3, "DRAWS": False},
}
TYPES = {"now": "*fp32", "after": "*fp32", "finite": "*i32", "gamma": "*fp32", "seed": "*i64", "clock": "*i64"}
TYPES |= {"occupied": "*i64", "stencil": "*fp32", "biases": "*fp32", "n": "i32", "H": "i32", "W": "i32", "rate": "fp32"}
TYPES |= {"least": "fp32", "most": "fp32"}
POINTERS = {"bfloat16": "*bf16", "float32": "*fp32"}


def compiled(law: str, card: str, operands: str, block: int, warps: int) -> dict[str, Any]:
    constants = LAWS[law] | {"C": 16, "WIDE": 16, "HIDDEN": 128, "WRAP": False, "OPERANDS": getattr(tl, operands)}
    constants |= {"BLOCK": block, "CONSTRAINT": 0}
    types = TYPES | {"weights": POINTERS[operands]} | dict.fromkeys(constants, "constexpr")
    names = _step.arg_names
    aligned = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(names) if types[name].startswith("*")}
    source = ASTSource(fn=_step, signature={name: types[name] for name in names}, constexprs=constants, attrs=aligned)
    kernel = triton.compile(source, target=GPUTarget("cuda", CARDS[card], 32), options={"num_warps": warps})
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        command = [triton.knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {name: int(value) for name, value in re.findall(r"(REG|STACK):(\d+)", said)}
    return {
        "law": law,
        "card": card,
        "operands": operands,
        "registers": found["REG"],
        "spilled_bytes": found["STACK"],
        "shared_bytes": kernel.metadata.shared,
        "products": sorted(set(re.findall(r"(?:wgmma\.mma_async|mma\.sync)", kernel.asm["ptx"]))),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--block", type=int, default=BLOCK)
    options.add_argument("--warps", type=int, default=WARPS)
    options.add_argument("--operands", choices=POINTERS, default="bfloat16")
    chosen = options.parse_args()
    rows = [compiled(law, card, chosen.operands, chosen.block, chosen.warps) for law in LAWS for card in CARDS]
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
