"""Make the demo law `aurora`: an untrained additive U-Net whose universe is alive and stationary.

    python examples/make_aurora.py [FOLDER]

A U-Net as torch initialises it falls to a fixed point within some ten steps, and every test on it passes. With the
bias of its last layer at 0 and that layer's weight drawn from N(0, 1), the same network is weakly chaotic and stays
so. Of the first eight torch seeds this one's activity is the steadiest (0.15 at steps 50, 200 and 400 on 64 x 64
cells).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from leym.laws.bundle import MANIFEST, WEIGHTS, Manifest, read_bundle
from leym.laws.networks.unet import UNet

SEED, D_STATE, HIDDEN = 2, 4, 8


def main(folder: Path) -> None:
    torch.manual_seed(SEED)
    network = UNet(D_STATE, HIDDEN)
    torch.nn.init.normal_(network.outc.weight, 0.0, 1.0)
    assert network.outc.bias is not None
    torch.nn.init.zeros_(network.outc.bias)
    manifest = Manifest(
        name="aurora",
        architecture="UNET",
        d_state=D_STATE,
        hidden_channels=HIDDEN,
        form="additive",
        description="Untrained, weakly chaotic and stationary: drifting patches of four channels.",
        provenance={"script": "examples/make_aurora.py", "torch_seed": SEED, "out_weight_std": 1.0, "out_bias": 0.0},
    )
    folder.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), folder / WEIGHTS)
    (folder / MANIFEST).write_text(json.dumps(manifest.model_dump(), indent=2) + "\n")
    print(read_bundle(folder).ref)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "laws" / "aurora")
