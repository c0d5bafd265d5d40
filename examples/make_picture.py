"""Makes docs/images/aurora.png: one universe at four steps, its phase above its mixture of channels.

    leym up &
    python -m examples.make_picture

The first command starts the service that the second one uses.
"""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from leym.client import Client
from leym.frames.pictures import encode, render

STEPS = (10, 100, 300, 600)
TARGET = Path(__file__).parents[1] / "docs" / "images" / "aurora.png"


def main() -> None:
    """Run the universe on a running service and write the picture."""
    with Client() as client:
        job = client.submit("aurora", (96, 96), STEPS[-1], {"phase": 10, "channel_power": 10}, seed=7).wait(
            progress=True
        )
        strips = []
        for field in ("phase", "channel_power"):
            steps, frames = job.array(field)
            chosen = frames[[steps.tolist().index(step) for step in STEPS]]
            strips.append(np.asarray(Image.open(io.BytesIO(encode(render(field, chosen), "png", scale=2)))))
    gap = np.full((4, *strips[0].shape[1:]), 255, np.uint8)
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate([strips[0], gap, strips[1]])).save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
