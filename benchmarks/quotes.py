"""Compares quotes with what 50 jobs of mixed sizes then take, on the service that LEYM_URL names.

    python -m benchmarks.quotes --law aurora --jobs 50

Prints the median relative error of the running time and of the end, and how many jobs end by `p90` and between `p50`
and `p90` of the running time and of the end. A service that has run nothing yet gets a few jobs first, which are not
counted.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from datetime import datetime

from leym.client import Client

GRIDS = (16, 32, 64)
STEPS = (50, 200, 800, 3200)
FIRST = 4  # jobs per bucket before the measurement


def main() -> None:
    """Submit the jobs one after the other, a few at once, and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--law", default="aurora")
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--at-once", type=int, default=1, help="jobs submitted together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    draw = random.Random(options.seed)
    with Client() as client:
        for grid in GRIDS:
            first = [client.submit(options.law, grid=grid, steps=steps, seed=1000 + steps) for steps in STEPS[:FIRST]]
            for job in first:
                job.wait()
        time.sleep(2)
        rows = []
        for start in range(0, options.jobs, options.at_once):
            made = []
            for n in range(start, min(start + options.at_once, options.jobs)):
                spec = {"grid": draw.choice(GRIDS), "steps": draw.choice(STEPS)}
                quote = client.quote(options.law, **spec)
                made.append((quote, time.time(), client.submit(options.law, seed=n, **spec)))
            for quote, at, job in made:
                record = job.wait().as_dict()
                if quote["finish_at"] is None:
                    print(f"no quote for {record['spec']['grid']}: {quote['reason']}")
                    continue
                ended = datetime.fromisoformat(record["finished_at"]).timestamp() - at
                asked = datetime.fromisoformat(quote["start_at"]["p50"]).timestamp() - quote["wait_s"]["p50"]
                moments = {p: datetime.fromisoformat(t).timestamp() - asked for p, t in quote["finish_at"].items()}
                rows.append((quote["run_s"], moments, record["queue"]["ran_s"], ended))
    report(rows)


def report(rows: list[tuple[dict[str, float], dict[str, float], float, float]]) -> None:
    """Print the errors: rows of (quoted run, quoted end, measured running time, measured time to the end)."""
    if not rows:
        print("no job had a quote")
        return
    run = [abs(quoted["p50"] - ran) / ran for quoted, _, ran, _ in rows]
    end = [abs(quoted["p50"] - ended) / ended for _, quoted, _, ended in rows]
    kept = sum(ended <= quoted["p90"] for _, quoted, _, ended in rows)
    between = sum(quoted["p50"] <= ran <= quoted["p90"] for quoted, _, ran, _ in rows)
    ends = sum(quoted["p50"] <= ended <= quoted["p90"] for _, quoted, _, ended in rows)
    print(f"{len(rows)} jobs")
    print(f"median relative error of the running time: {statistics.median(run):.1%}")
    print(f"median relative error of the end:          {statistics.median(end):.1%}")
    print(f"ended by p90:                              {kept / len(rows):.0%} (90 % expected)")
    print(f"ran between p50 and p90:                   {between / len(rows):.0%} (40 % expected)")
    print(f"ended between p50 and p90:                 {ends / len(rows):.0%} (40 % expected)")


if __name__ == "__main__":
    main()
