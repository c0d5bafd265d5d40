"""Every benchmark that `docs/benchmarks.md` shows, one after the other on one machine; results as JSON, and plots.

    python -m benchmarks.everything [--quick] [--only engine grids ...] [--folder benchmarks/results]

What cannot run (LitServe or JAX not installed) says so in its place and stops nothing else.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from leym.common.children import end_with_parent

# name, module, options; --quick goes to those that know it
ALL = {
    "engine": ("engine", ()),
    "grids": ("grids", ()),
    "serving unet_unitary": ("service", ("--law", "unet_unitary")),
    "sweeps": ("sweeps", ()),
    "rivals nca": ("rivals", ("--law", "nca")),
    "cold start": ("cold_start", ()),
}
LIMIT_S = 3600.0  # of one benchmark, against hanging
WITHOUT_QUICK = ("cold start",)


def run(name: str, quick: bool) -> dict[str, Any]:
    module, options = ALL[name]
    more = ["--quick"] if quick and name not in WITHOUT_QUICK else []
    command = [sys.executable, "-m", f"benchmarks.{module}", "--json", *options, *more]
    began = perf_counter()
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=LIMIT_S, preexec_fn=end_with_parent)
    except subprocess.TimeoutExpired:
        return {"error": f"{' '.join(command[1:])} had not ended after {LIMIT_S:.0f} s"}
    if done.returncode:
        return {"error": f"{' '.join(command[1:])} ended with {done.returncode}"}
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return {"command": " ".join(["python", *command[1:]]), "took_s": round(perf_counter() - began), **found}


def plot_grids(rows: list[dict[str, Any]], file: Path) -> None:
    from matplotlib import pyplot

    laws = list(dict.fromkeys(row["law"] for row in rows))
    figure, axes = pyplot.subplots(1, len(laws), figsize=(3.4 * len(laws), 3), sharex=True)
    for law, axis in zip(laws, axes, strict=True):
        for side in dict.fromkeys(row["grid"] for row in rows):
            of_grid = [row for row in rows if row["law"] == law and row["grid"] == side]
            speeds = [row["cell_steps_per_s"] / 1e6 for row in of_grid]
            axis.plot([row["batch"] for row in of_grid], speeds, marker="o", label=f"{side}²")
        axis.set(title=law, xscale="log", xlabel="batch", ylim=(0, None))
        axis.set_xticks([1, 2, 4, 8], ["1", "2", "4", "8"])
        axis.minorticks_off()
    axes[0].set_ylabel("M cell-steps/s")
    axes[-1].legend(title="grid", frameon=False)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def plot_arms(rows: list[dict[str, Any]], file: Path) -> None:
    from matplotlib import pyplot

    rows = [row for row in rows if "cell_steps_per_s" in row]
    figure, axis = pyplot.subplots(figsize=(7, 0.42 * len(rows) + 0.9))
    axis.barh([row["arm"] for row in rows][::-1], [row["cell_steps_per_s"] / 1e6 for row in rows][::-1])
    axis.set_xlabel("M cell-steps/s")
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="the ratios are rough")
    options.add_argument("--only", nargs="*", choices=ALL, default=list(ALL))
    options.add_argument("--folder", type=Path, default=Path("benchmarks/results"))
    chosen = options.parse_args()
    chosen.folder.mkdir(parents=True, exist_ok=True)
    file = chosen.folder / ("bench-quick.json" if chosen.quick else "bench.json")
    found: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    for name in chosen.only:
        print(f"{name} ...", flush=True)
        found[name] = run(name, chosen.quick)
        print(json.dumps(found[name], indent=1), flush=True)
        file.write_text(json.dumps(found, indent=1) + "\n")
    if rows := found.get("grids", {}).get("rows"):
        plot_grids(rows, file.with_name(f"{file.stem}-grids.png"))
    if rows := found.get("rivals nca", {}).get("serving"):
        plot_arms(rows, file.with_name(f"{file.stem}-serving.png"))
    print(f"results are in {file} and beside it")


if __name__ == "__main__":
    main()
