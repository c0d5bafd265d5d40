"""Makes what the page carries as data: its colour maps, and a small animation of each law of the zoo.

    python -m benchmarks.page_assets

The colour maps are matplotlib's (van der Walt, Smith, Nuñez, Anderton, Renslow, Bechtold; CC0), by which equal steps of
the value look equally large; the cyclic ones begin and end with the same colour. The animations are cut from each law's
`preview.webp`; `zoo/sources.json` keeps the digests of those, so that a test finds a cut that is out of date.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from PIL import Image

ROOT = Path(__file__).parents[1]
STATIC = ROOT / "app" / "static"
VIEWER = ROOT / "leym" / "viewer" / "static"
LINEAR = ("viridis", "magma", "inferno", "plasma", "cividis", "gray")
CYCLIC = ("twilight", "twilight_shifted", "hsv")
SIDE, FRAMES, FRAME_MS, QUALITY = 128, 36, 80, 32  # about 60 kB each
SOURCES = "sources.json"
HEAD = """// Made by `python -m benchmarks.page_assets`: 256 colours of each map, RGB, in base64.
// matplotlib's maps: perceptually uniform ones, and cyclic ones for angles.

const TABLES = {
"""
TAIL = """};

export const CYCLIC = new Set([%s]);
export const NAMES = Object.keys(TABLES);

/** Returns the colours of a map, a Uint8Array of 256 × 3; raises RangeError for an unknown name. */
export function colours(name) {
  if (!TABLES[name]) throw new RangeError(`there is no colour map ${name}; known: ${NAMES.join(", ")}`);
  return Uint8Array.from(atob(TABLES[name]), (character) => character.charCodeAt(0));
}
"""


def write_maps() -> None:
    """Write `js/colormaps.js` of the viewer."""
    lines = []
    for name in (*LINEAR, *CYCLIC):
        table = np.rint(colormaps[name](np.linspace(0, 1, 256))[:, :3] * 255).astype(np.uint8)
        lines.append(f'  {name}: "{base64.b64encode(table.tobytes()).decode()}",\n')
    tail = TAIL % ", ".join(f'"{name}"' for name in CYCLIC)
    (VIEWER / "js" / "colormaps.js").write_text(HEAD + "".join(lines) + tail, encoding="utf-8")


def digests() -> dict[str, str]:
    """Return the SHA-256 of each law's animation, by the law's name."""
    previews = sorted((ROOT / "laws").glob("*/preview.webp"))
    return {preview.parent.name: hashlib.sha256(preview.read_bytes()).hexdigest() for preview in previews}


def write_animations() -> None:
    """Write `zoo/LAW.webp` for each law that has a preview."""
    (STATIC / "zoo").mkdir(exist_ok=True)
    names = sorted(preview.parent.name for preview in (ROOT / "laws").glob("*/preview.webp"))
    listed = ", ".join(f'"{name}"' for name in names)
    head = "// Made by `python -m benchmarks.page_assets`: laws with an animation in zoo/.\n"
    (STATIC / "js" / "zoo.js").write_text(f"{head}export const ZOO = [{listed}];\n", encoding="utf-8")
    (STATIC / "zoo" / SOURCES).write_text(json.dumps(digests(), indent=1) + "\n", encoding="utf-8")
    for preview in sorted((ROOT / "laws").glob("*/preview.webp")):
        with Image.open(preview) as source:
            count = getattr(source, "n_frames", 1)
            frames = []
            for i in range(0, min(count, 2 * FRAMES), 2):
                source.seek(i)
                frames.append(source.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS))
        target = STATIC / "zoo" / f"{preview.parent.name}.webp"
        more = frames[1:]
        frames[0].save(target, save_all=True, append_images=more, duration=FRAME_MS, loop=0, quality=QUALITY, method=6)


if __name__ == "__main__":
    write_maps()
    write_animations()
