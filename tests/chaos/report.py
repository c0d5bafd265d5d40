"""Prints the table of docs/reliability.md from the reports of `make chaos`: `python -m tests.chaos.report FOLDER`."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

from tests.chaos.deployment import LEASE_S


def main() -> None:
    reports = [json.loads(path.read_text()) for path in sorted(Path(sys.argv[1]).glob("*-*.json"))]
    print(
        "| job table, store | seed | faults | jobs | sweeps | members | frames streamed | lost, doubled or different |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for report in reports:
        happened = sum(fault["happened"] for fault in report["faults"])
        row = (f"{report['database']}, {report['store']}", report["seed"], happened)
        row += (report["jobs"], report["sweeps"], report["members"])
        print("|", " | ".join(map(str, (*row, report["frames_streamed"], len(report["violations"])))), "|")
    faults = defaultdict(list)
    for report in reports:
        for fault in report["faults"]:
            faults[fault["name"]].append(fault)
    print("\n| fault | happened | jobs free after, at most | all further after, at most |")
    print("|---|---|---|---|")
    for name, each in faults.items():
        times = [max(one[key] for one in each) for key in ("released_s", "recovered_s")]
        print(f"| {name} | {sum(one['happened'] for one in each)} | {times[0]:.1f} s | {times[1]:.1f} s |")
    dead = max(fault["released_s"] for report in reports for fault in report["faults"] if fault["kills"])
    print(f"\nAfter a worker's death its jobs were free again after at most {dead:.1f} s; a lease is {LEASE_S:g} s.")


if __name__ == "__main__":
    main()
