"""The zoo: how the laws that come with the service were trained, what physics they keep, and what they look like.

    python -m benchmarks.zoo train NAME…      train laws/NAME by its recipe.toml; calibrate and refine are commands
    python -m benchmarks.zoo physics NAME…    compare the law with its teacher: laws/NAME/physics.json
    python -m benchmarks.zoo draw NAME…       laws/NAME/preview.webp
    python -m benchmarks.zoo page             docs/zoo.md and docs/images/zoo/zoo.webp from all of it

Teacher and law start from the same states, those that the law's manifest names, and run with the law's default gamma:
the teacher has no damping of its own, which the law has learned to make up for.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from leym.engine.run import initial_state
from leym.fidelity.ensemble import EngineLike, Subject, evolve, running_engine
from leym.fidelity.stats import tost
from leym.frames.pictures import render
from leym.laws.bundle import Bundle, Manifest, read_bundle
from leym.laws.verdicts import CHEAPEST_FIRST, read_verdict
from leym.physics.observables import StateView
from leym.physics.step import to_real
from leym.training.recipe import Recipe, read_recipe
from leym.training.teachers.catalog import teacher
from leym.training.trainer import train

ROOT = Path(__file__).resolve().parent.parent
LAWS, IMAGES = ROOT / "laws", ROOT / "docs" / "images" / "zoo"
RECIPE, PHYSICS, PREVIEW, CURVE = "recipe.toml", "physics.json", "preview.webp", "curve.csv"
SEEDS = range(500_000, 500_024)  # none of them is used for training, calibration or the gate
GAMMA = 0.01
TILED = 40  # frames of the montage
INTRODUCTION = """\
# The zoo

These laws come with the service. `leym submit spirals --grid 64 --steps 600` runs one; without a start state it
begins as shown here. `leym train laws/spirals/recipe.toml` trains it again, in minutes on one core.

The animations are of the laws in fp32. Where a table has a column for nf4, it is the law in four bits as its manifest
says: nearest rounding, unless the verdicts say "own codes". Small networks often do not survive nearest rounding.
`leym laws calibrate` and `leym laws refine` look for better codes ([](four-bits.md)).
"""


@dataclass(frozen=True)
class Exhibit:
    """Says how a law is shown and compared.

    Attributes:
        field: field of the pictures.
        channel: its channel, if it has several.
        limits: values between which the colours run; None for those of the field.
        precision: precision of the pictures.
        side: cells along a side of the grid of the pictures.
        steps: steps of an animation.
        every: steps between two of its frames.
        measured: steps after which it is compared with its teacher.
        observables: observables of the teacher that the comparison states.
        taught: what it was taught, in one sentence.
    """

    field: str = "phase"
    channel: int | None = None
    limits: tuple[float, float] | None = None
    precision: str = "fp32"
    side: int = 64
    steps: int = 400
    every: int = 4
    measured: int = 400
    observables: tuple[str, ...] = ()
    taught: str = ""


KURAMOTO = ("defect_density", "wavelength", "frequency")
EXHIBITS = {
    "spirals": Exhibit(steps=600, observables=KURAMOTO, taught="Kuramoto–Sakaguchi oscillators, α = 0.45"),
    "boil": Exhibit(steps=300, every=3, observables=KURAMOTO, taught="Kuramoto–Sakaguchi oscillators, α = 0.9"),
    "turbulence": Exhibit(
        steps=800,
        every=5,
        measured=800,
        observables=("defect_density", "intensity"),
        taught="complex Ginzburg–Landau equation, b = 2, c = -1.2",
    ),
    "hurricanes": Exhibit(
        steps=600, observables=("intensity", "frequency"), taught="complex Ginzburg–Landau equation, b = 0, c = 1"
    ),
    "embers": Exhibit(
        "density",
        limits=(0.0, 1.2),
        steps=600,
        observables=("active", "tip_density"),
        taught="Barkley's excitable medium, b = 0.05",
    ),
    "frost": Exhibit(
        "density",
        limits=(0.0, 1.1),
        steps=300,
        every=3,
        observables=("length", "growth_exponent", "energy"),
        taught="Allen–Cahn equation, D = 1",
    ),
    "flower": Exhibit("rgb", side=32, steps=200, every=2, taught="to grow a picture from one cell and to repair it"),
    "choir": Exhibit(steps=400, observables=KURAMOTO, taught="Kuramoto–Sakaguchi oscillators, α = 0.45"),
    "pinwheels": Exhibit(
        steps=300, every=3, observables=KURAMOTO, taught="Kuramoto–Sakaguchi oscillators, α = 0.9, in an open box"
    ),
    "tides": Exhibit(
        steps=600,
        observables=("intensity", "frequency"),
        taught="complex Ginzburg–Landau equation, b = 0, c = 1, in an open box",
    ),
    "sparks": Exhibit(
        "density",
        limits=(0.0, 1.2),
        steps=600,
        observables=("active", "tip_density"),
        taught="Barkley's excitable medium, b = 0.02, in an open box",
    ),
}


def recipe_of(name: str) -> Recipe:
    return read_recipe(LAWS / name / RECIPE)


def train_law(name: str) -> None:
    """Train a law by its recipe, into its own folder."""
    with tempfile.TemporaryDirectory() as folder:
        bundle = train(recipe_of(name), Path(folder))
        for file in bundle.path.iterdir():
            shutil.copy(file, LAWS / name)
        shutil.copy(Path(folder) / CURVE, LAWS / name)
    print(f"{name}: {read_bundle(LAWS / name).ref}")


def start_states(law: Bundle, grid: tuple[int, int], seeds: Sequence[int]) -> torch.Tensor:
    """Draw the start states of a law: float32 [n, 2d, H, W]."""
    start, manifest = law.manifest.default_start, law.manifest
    drawn = [initial_state(start, grid, manifest.d_state, seed, manifest.constraint) for seed in seeds]
    return to_real(torch.from_numpy(np.stack(drawn)))


def trajectory(
    engine: EngineLike, law: Bundle, precision: str, seeds: Sequence[int], steps: int, every: int, side: int = 64
) -> NDArray[np.complex64]:
    """Run a law as the service does: complex64 [n, T, H, W, d]."""
    found = evolve(engine, Subject(law, precision, GAMMA), (side, side), seeds, steps=steps, every=every)
    if found.broken:
        raise RuntimeError(f"{law.name} in {precision}: seeds {found.broken} did not stay finite")
    psi: NDArray[np.complex64] = found.psi.numpy()
    return psi


def physics(name: str) -> None:
    """Compare a law with its teacher, in fp32 and in nf4, and write what was measured."""
    law, recipe, exhibit = read_bundle(LAWS / name), recipe_of(name), EXHIBITS[name]
    objective = recipe.objective
    if objective.kind != "teacher":
        raise ValueError(f"{name}: its objective is {objective.kind}, so there is no teacher to compare it with")
    known = teacher(
        objective.teacher,
        padding=law.manifest.boundary,
        preset=objective.preset,
        **objective.parameters,
    )
    every = max(1, exhibit.measured // 100)
    x = start_states(law, (64, 64), SEEDS)
    taught = known.observe(known.run(x, exhibit.measured, every), every)
    rows: dict[str, Any] = {"seeds": [SEEDS[0], SEEDS[-1]], "grid": [64, 64], "steps": exhibit.measured}
    rows |= {"teacher": objective.teacher, "preset": objective.preset, "observables": {}}
    with running_engine(None, len(SEEDS)) as engine:
        learned = {}
        for precision in ("fp32", "nf4"):
            psi = trajectory(engine, law, precision, SEEDS, exhibit.measured, every)
            frames = torch.stack([to_real(torch.from_numpy(psi[:, t])) for t in range(psi.shape[1])])
            learned[precision] = known.observe(frames, every)
    for observable in exhibit.observables:
        reference = taught[observable].numpy()
        row = {"teacher": summary(reference)}
        for precision, measured in learned.items():
            own = measured[observable].numpy()
            row[precision] = summary(own) | {"difference": difference(own, reference)}
        rows["observables"][observable] = row
        print(name, observable, json.dumps(row))
    (LAWS / name / PHYSICS).write_text(json.dumps(rows, indent=1) + "\n")


def summary(values: NDArray[np.float64]) -> dict[str, Any]:
    """Return mean and standard deviation over the universes that show the observable, and their number."""
    finite = values[np.isfinite(values)]
    return {"mean": round(float(finite.mean()), 6), "sd": round(float(finite.std(ddof=1)), 6), "n": len(finite)}


def difference(own: NDArray[np.float64], reference: NDArray[np.float64]) -> list[float]:
    """Return the relative difference of the means with its 90 % interval: [value, low, high]."""
    own, reference = own[np.isfinite(own)], reference[np.isfinite(reference)]
    found = tost(own, reference, abs(float(reference.mean())))
    return [round(part, 4) for part in (found.effect, found.low, found.high)]


def draw(name: str) -> None:
    """Draw the animation of a law."""
    law, exhibit = read_bundle(LAWS / name), EXHIBITS[name]
    with running_engine(None, 1) as engine:
        psi = trajectory(engine, law, exhibit.precision, SEEDS[:1], exhibit.steps, exhibit.every, exhibit.side)[0]
    states = torch.stack([to_real(torch.from_numpy(frame[None]))[0] for frame in psi])
    values = StateView(states, None, states).field(exhibit.field).numpy()
    pictures = render(exhibit.field, values, exhibit.channel, exhibit.limits)
    animate(pictures, LAWS / name / PREVIEW)


def animate(pictures: NDArray[np.uint8], path: Path) -> None:
    """Write uint8 [n, H, W, 3] as a small animation; the service's own pictures are lossless, and larger."""
    frames = [Image.fromarray(picture).resize((192, 192), Image.Resampling.NEAREST) for picture in pictures]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=66, loop=0, quality=60, method=4)


def montage(names: Sequence[str]) -> None:
    """Draw all animations side by side, for the page and the README."""
    tiles = []
    for name in names:
        with Image.open(LAWS / name / PREVIEW) as animation:
            n = getattr(animation, "n_frames", 1)
            tiles.append([frame_at(animation, t * n // TILED) for t in range(TILED)])
    columns = 4
    rows = [tiles[i : i + columns] for i in range(0, len(tiles) - len(tiles) % columns, columns)]
    frames = [np.concatenate([np.concatenate([tile[t] for tile in row], 1) for row in rows], 0) for t in range(TILED)]
    whole = [Image.fromarray(frame) for frame in frames]
    IMAGES.mkdir(parents=True, exist_ok=True)
    whole[0].save(
        IMAGES / "zoo.webp", save_all=True, append_images=whole[1:], duration=100, loop=0, quality=55, method=4
    )


def frame_at(animation: Image.Image, number: int) -> NDArray[np.uint8]:
    """Return one frame of an animation with a white border: uint8 [200, 200, 3]."""
    animation.seek(number)
    framed = Image.new("RGB", (200, 200), "white")
    framed.paste(animation.convert("RGB"), (4, 4))
    return np.asarray(framed)


def page() -> None:
    """Write docs/zoo.md from the bundles."""
    names = [name for name in EXHIBITS if (LAWS / name / PREVIEW).exists()]
    montage(names)
    text = [INTRODUCTION, *(section(name) for name in names)]
    (ROOT / "docs" / "zoo.md").write_text("\n".join(text))


def section(name: str) -> str:
    """Return the card of a law."""
    law, recipe, exhibit = read_bundle(LAWS / name), recipe_of(name), EXHIBITS[name]
    manifest, last = law.manifest, law.manifest.provenance.get("last", {})
    size = sum(file.stat().st_size for file in (LAWS / name).rglob("*") if file.is_file())
    lines = [
        f"## {name}",
        "",
        f"![{name}: an animation](../laws/{name}/{PREVIEW})",
        "",
        manifest.description,
        "",
        "| | |",
        "|---|---|",
        f"| network | `{manifest.architecture}`, d = {manifest.d_state}, {manifest.hidden_channels} channels,"
        f" {law.parameters:,} weights, constraint `{shown(manifest)}` |",
        f"| taught | {exhibit.taught} |",
        f"| training | {recipe.train.updates:,} updates, seed {recipe.train.seed},"
        f" last loss {last.get('loss', float('nan')):.3g}: `laws/{name}/{RECIPE}` and `{CURVE}` beside it |",
        f"| folder | {size / 1024:,.0f} KiB |",
        f"| verdicts | {verdicts(law)} |",
        "",
    ]
    if (LAWS / name / PHYSICS).exists():
        lines += physics_table(json.loads((LAWS / name / PHYSICS).read_text()))
    return "\n".join(lines)


def shown(manifest: Manifest) -> str:
    """Return the constraint, and the living mask where there is one."""
    constraint = manifest.model_dump(mode="json")["constraint"]
    return f"{constraint}" + (" with a living mask" if manifest.living else "")


def verdicts(law: Bundle) -> str:
    """Return the verdict of each precision with its members and power."""
    found = []
    for precision in CHEAPEST_FIRST:
        verdict = read_verdict(law, precision)
        own = " (own codes)" if precision in law.manifest.codes else ""
        found.append(f"{precision}{own}: {verdict.verdict}" if verdict else f"{precision}: not judged")
    return ", ".join(found)


def physics_table(rows: dict[str, Any]) -> list[str]:
    """Return the comparison with the teacher as a table."""
    n = rows["seeds"][1] - rows["seeds"][0] + 1
    height, width = rows["grid"]
    lines = [
        f"Against its teacher, {n} universes of {height}×{width} cells, {rows['steps']} steps from the same starts"
        " (mean ± standard deviation over universes; relative difference of the means with its 90 % interval):",
        "",
        "| observable | teacher | law in fp32 | law in nf4 |",
        "|---|---|---|---|",
    ]
    for name, row in rows["observables"].items():
        cells = [f"{row['teacher']['mean']:.4g} ± {row['teacher']['sd']:.2g}"]
        for precision in ("fp32", "nf4"):
            own, (value, low, high) = row[precision], row[precision]["difference"]
            cells.append(f"{own['mean']:.4g} ± {own['sd']:.2g} ({value:+.1%} [{low:+.1%}, {high:+.1%}])")
        lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=("train", "physics", "draw", "page"))
    parser.add_argument("names", nargs="*", metavar="NAME")
    chosen = parser.parse_args()
    todo = {"train": train_law, "physics": physics, "draw": draw}
    if chosen.command == "page":
        page()
    for name in chosen.names:
        todo[chosen.command](name)


if __name__ == "__main__":
    main()
