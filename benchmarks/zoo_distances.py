"""Prints how far apart the behaviours of laws are: `python -m benchmarks.zoo_distances LAW...`.

Laws are names of the data folder, or folders of bundles. A distance of 1 is the scatter of these laws in every metric;
`halves` is the distance of two halves of a law's own ensemble (`leym.fidelity.descriptors`).
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from leym.contract.fidelity_plan import PLANS
from leym.engine.engine import Engine
from leym.fidelity.descriptors import Behaviour, Distances, behaviour_of, distances
from leym.laws.bundle import MANIFEST, Bundle, read_bundle
from leym.laws.registry import default_registry


def bundle_of(law: str) -> Bundle:
    """Return the law of a folder, or of a name in the data folder."""
    return read_bundle(Path(law)) if (Path(law) / MANIFEST).is_file() else default_registry().resolve(law)


def markdown(found: Distances, behaviours: list[Behaviour]) -> str:
    """Return the matrix as a table, with the nearest neighbour of each law."""
    lines = [
        "| law | regime | " + " | ".join(found.names) + " | halves | nearest |",
        "|" + "---|" * (len(found.names) + 4),
    ]
    for i, one in enumerate(behaviours):
        row = " | ".join(f"{value:.2f}" for value in found.apart[i])
        nearest = found.nearest[i]
        lines.append(
            f"| {one.name} | {one.regime} | {row} | {found.halves[i]:.2f}"
            f" | {found.names[nearest]} ({found.apart[i, nearest]:.2f}) |"
        )
    return "\n".join(lines)


def as_json(found: Distances, behaviours: list[Behaviour]) -> dict[str, Any]:
    """Return the distances and the means of all metrics."""
    means = {
        one.name: {metric: float(values.mean()) for metric, values in one.measured.values.items()} for one in behaviours
    }
    shown = {"names": found.names, "metrics": found.metrics, "apart": found.apart.tolist()}
    shown |= {"halves": found.halves.tolist(), "regimes": {one.name: one.regime for one in behaviours}}
    return shown | {"means": means}


def main() -> None:
    """Run an fp32 ensemble of every law and print their distances."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.zoo_distances", description=__doc__)
    options.add_argument("laws", nargs="+", metavar="LAW", help="name, name@digest, or folder of a bundle")
    options.add_argument("--plan", choices=PLANS, default="small")
    options.add_argument("--members", type=int, default=16, help="universes per law")
    options.add_argument("--file", type=Path, help="write all numbers there, as JSON")
    chosen = options.parse_args()
    logging.basicConfig(level=logging.WARNING)
    plan = PLANS[chosen.plan].with_(members=chosen.members, pilot=0, pairs=min(8, chosen.members))
    behaviours = []
    engine = Engine(chosen.members)
    engine.start()
    try:
        for law in map(bundle_of, chosen.laws):
            behaviours.append(behaviour_of(engine, law, plan))
            print(f"{law.name}: {behaviours[-1].regime}", flush=True)
    finally:
        engine.stop()
    found = distances(behaviours)
    print(markdown(found, behaviours))
    if chosen.file:
        chosen.file.write_text(json.dumps(as_json(found, behaviours), indent=1) + "\n")


if __name__ == "__main__":
    main()
