"""Makes docs/images/aurora.png: four universes of the law "aurora", a row each, at four steps.

leym up &
python -m examples.make_picture
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from leym.client import Client
from leym.frames.pictures import render

SIDE, SCALE = 96, 2  # cells along one edge of a grid, pixels along one edge of a cell
STEPS = (6, 20, 100, 400)
ZEROS = {"initial": {"kind": "zeros"}}
NOISE = {"initial": {"kind": "complex_noise", "strength": 0.1}, "seed": 7}
ROWS: tuple[tuple[str, str, dict[str, Any], tuple[float, float] | None], ...] = (
    ("phase\nfrom zeros", "phase", ZEROS, None),
    ("coherence\nof the same", "coherence", ZEROS, (0.25, 0.85)),
    ("phase\nfrom noise\nseed 7", "phase", NOISE, None),
    ("phase\nfrom noise\ngamma 2", "phase", NOISE | {"gamma": 2.0}, None),
)
GAP, LABEL, HEAD = 6, 96, 24  # pixels between frames, of the labels on the left, of the labels on top
GREY = (128, 128, 128, 255)  # can be read on a light and on a dark page
TARGET = Path(__file__).parents[1] / "docs" / "images" / "aurora.png"


def main() -> None:
    """Run the universes on a running service and write the picture."""
    size = SIDE * SCALE
    sheet = Image.new("RGBA", (LABEL + len(STEPS) * (size + GAP), HEAD + len(ROWS) * (size + GAP)), (0, 0, 0, 0))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for column, step in enumerate(STEPS):
        draw.text((LABEL + column * (size + GAP), 2), f"step {step}", GREY, font)
    with Client() as client:
        for row, (label, field, spec, limits) in enumerate(ROWS):
            top = HEAD + row * (size + GAP)
            draw.multiline_text((0, top), label, GREY, font)
            job = client.run("aurora", SIDE, STEPS[-1], {field: 2}, precision="fp32", **spec)
            steps, frames = job.array(field)
            chosen = frames[np.searchsorted(steps, STEPS)]
            for column, picture in enumerate(render(field, chosen, limits=limits)):
                enlarged = Image.fromarray(picture).resize((size, size), Image.Resampling.NEAREST)
                sheet.paste(enlarged, (LABEL + column * (size + GAP), top))
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    sheet.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(TARGET, optimize=True)


if __name__ == "__main__":
    main()
