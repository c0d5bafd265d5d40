"""Makes the demonstration law `aurora`: an untrained additive U-Net whose universe is alive and stationary.

    python -m examples.make_aurora [FOLDER]

A U-Net with torch's default weights falls to a fixed point within about ten steps, where every test passes and none
means anything. With the bias of its last layer at 0 and the weight of that layer drawn from N(0, 1), the same network
is weakly chaotic and stays so. Of the first eight torch seeds, seed 2 gives the steadiest activity: 0.15 at steps 50,
200 and 400 on 64 x 64 cells.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import save_file

from leym.laws.bundle import MANIFEST, WEIGHTS, Manifest, read_bundle
from leym.laws.networks.unet import UNet

SEED, D_STATE, HIDDEN = 2, 4, 8


def main(folder: Path) -> None:
    """Write the law into `folder` and print its reference."""
    torch.manual_seed(SEED)
    network = UNet(D_STATE, HIDDEN)
    torch.nn.init.normal_(network.outc.weight, 0.0, 1.0)
    torch.nn.init.zeros_(cast(torch.nn.Parameter, network.outc.bias))
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
    (folder / MANIFEST).write_text(json.dumps(manifest.model_dump(exclude_defaults=True), indent=2) + "\n")
    print(read_bundle(folder).ref)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "laws" / "aurora")
