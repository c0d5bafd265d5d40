"""Makes docs/images/phase-diagram.png: activity of the law "aurora" over gamma and the strength of the start state.

leym up &
python -m examples.phase_diagram
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

from leym.client import Client, linspace

TARGET = Path(__file__).parents[1] / "docs" / "images" / "phase-diagram.png"


def main() -> None:
    """Run the sweep on a running service and write the picture."""
    matplotlib.use("agg")  # needs no screen
    with Client() as client:
        sweep = client.sweep(
            "aurora",
            gamma=linspace(0, 1, 11),
            initial={"kind": "complex_noise", "strength": linspace(0, 3, 7)},
            seed=range(5),
            grid=16,
            steps=100,
            observe=20,
        )
        sweep.wait(progress=True)
        axes = sweep.phase_diagram("gamma", "initial.strength", value="activity")
    axes.figure.savefig(TARGET, bbox_inches="tight")


if __name__ == "__main__":
    main()
