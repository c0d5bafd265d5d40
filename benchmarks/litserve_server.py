"""A LitServe server of a law: its compiled step, batches and weights are ours, only the serving is not.

    python -m benchmarks.litserve_server batched|continuous --law FOLDER --port P [--kernel inductor] [--slots 16]

    batched       LitServe's own batching: up to `slots` requests, stepped until the longest of them is done
    continuous    its ContinuousBatchingLoop: a request takes a free lane between bursts and leaves at its own end; a
                  burst ends when the first of its requests does, after 50 ms at the latest, as ours do

POST /predict {"seed": s, "steps": n} answers {"sha256": of the last psi}.
"""

from __future__ import annotations

import argparse
from hashlib import sha256
from pathlib import Path
from time import perf_counter
from typing import Any

import litserve as ls  # type: ignore[import-not-found, unused-ignore]
import numpy as np
import torch
from litserve.loops.continuous_batching_loop import (  # type: ignore[import-not-found, unused-ignore]
    ContinuousBatchingLoop,
    Output,
)
from litserve.utils import LitAPIStatus  # type: ignore[import-not-found, unused-ignore]

from leym.contract.spec import ComplexNoise
from leym.engine.batch import Batch, Group
from leym.engine.batch_size import BatchSizeTable
from leym.engine.benchmark import Countdown
from leym.engine.bucket import Bucket
from leym.engine.device import pick_device
from leym.engine.device_stream import DeviceStream
from leym.engine.loading import LawCache
from leym.engine.run import BucketKey, Run
from leym.laws.bundle import Bundle, read_bundle

BURST_S = 0.05


class Lanes:
    """`slots` lanes of one law. kernel "ours": batches and kernel of our engine; "inductor": one batch, compiled."""

    def __init__(self, law: Bundle, precision: str, grid: tuple[int, int], slots: int, kernel: str):
        device = pick_device()
        self.law, self.precision, self.grid, self.stream = law, precision, grid, DeviceStream(device)
        key, resident = BucketKey(law.digest, precision, grid), LawCache(device, compile=True).resident(law, precision)
        batch_size = BatchSizeTable(device).batch_size(law.manifest, precision, grid, slots)
        if kernel == "inductor":
            resident._fused, resident._step_, resident.kernel, batch_size = None, None, "inductor", slots
        bucket = Bucket(key, resident, batch_size)
        bucket.warm()
        self.batches = [*bucket.batches, *(Batch(bucket.law, key, batch_size) for _ in range(slots // batch_size - 1))]
        self.step_s = 0.0

    @property
    def free(self) -> int:
        return sum(batch.free for batch in self.batches)

    @property
    def busy(self) -> list[tuple[Batch, Group]]:
        return [(batch, group) for batch in self.batches for group in batch.groups]

    def admit(self, id: str, seed: int, steps: int) -> None:
        run = Run.one(id, self.law, self.precision, self.grid, steps, 0.01, seed, ComplexNoise(), Countdown())
        next(batch for batch in self.batches if batch.free).admit(run)

    def advance(self, steps: int) -> list[tuple[str, str]]:
        """(id, digest) of those that are done, who leave."""
        began = perf_counter()
        for batch in self.batches:
            if batch.groups:
                batch.advance(steps)
        self.step_s = (perf_counter() - began) / steps
        done = []
        for batch, group in self.busy:
            if group.step >= group.run.steps:
                psi = np.ascontiguousarray(batch.checkpoint(group, self.stream)().arrays["psi"][0])
                done.append((group.run.id, sha256(psi.tobytes()).hexdigest()))
                batch.leave(group)
        return done

    def until_first(self) -> int:
        return min(group.run.steps - group.step for _, group in self.busy)


class Api(ls.LitAPI):  # type: ignore[misc, valid-type]
    """of: law folder, precision, grid, slots and kernel."""

    def __init__(self, of: tuple[Path, str, tuple[int, int], int, str], **options: Any):
        super().__init__(max_batch_size=of[3], batch_timeout=0.05, **options)
        self.of = of

    def setup(self, device: str) -> None:
        folder, precision, grid, slots, kernel = self.of
        self.lanes = Lanes(read_bundle(folder), precision, grid, slots, kernel)

    def encode_response(self, output: str) -> dict[str, str]:
        return {"sha256": output}


class Batched(Api):
    def decode_request(self, request: dict[str, int]) -> dict[str, int]:
        return request

    def batch(self, inputs: list[dict[str, int]]) -> list[dict[str, int]]:
        return inputs

    def unbatch(self, output: list[str]) -> list[str]:
        return output

    @torch.no_grad()
    def predict(self, inputs: list[dict[str, int]]) -> list[str]:
        for i, one in enumerate(inputs):
            self.lanes.admit(str(i), one["seed"], one["steps"])
        done: dict[str, str] = {}
        while self.lanes.busy:
            done |= self.lanes.advance(self.lanes.until_first())
        return [done[str(i)] for i in range(len(inputs))]


class Continuous(Api):
    """Requests come while a step is under way, in another thread: they are seated before the next one."""

    def setup(self, device: str) -> None:
        super().setup(device)
        self.coming: list[tuple[str, dict[str, int]]] = []

    def add_request(self, uid: str, request: dict[str, int]) -> None:
        self.coming.append((uid, request))

    def has_capacity(self) -> bool:
        # a request that LitServe holds back may wait a second for a lane that is free: those who wait do so in `coming`
        return True

    def has_active_requests(self) -> bool:
        return bool(self.coming or self.lanes.busy)

    @torch.no_grad()
    def step(self, _: Any) -> list[Output]:
        while self.coming and self.lanes.free:
            uid, request = self.coming.pop(0)
            self.lanes.admit(uid, request["seed"], request["steps"])
        burst = max(1, int(BURST_S / self.lanes.step_s)) if self.lanes.step_s else 1
        done = self.lanes.advance(min(burst, self.lanes.until_first()))
        # what comes with the word that a stream is over is not sent
        said = [Output(uid, digest, LitAPIStatus.OK) for uid, digest in done]
        said += [Output(uid, "", LitAPIStatus.FINISH_STREAMING) for uid, _ in done]
        # the loop sleeps after a step that says nothing
        return said or [Output(self.lanes.busy[0][1].run.id, "", LitAPIStatus.OK)]

    def predict(self, inputs: Any) -> Any: ...


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("kind", choices=("batched", "continuous"))
    options.add_argument("--law", type=Path, required=True)
    options.add_argument("--precision", default="nf4")
    options.add_argument("--grid", type=int, nargs=2, default=(64, 64))
    options.add_argument("--slots", type=int, default=16)
    options.add_argument("--port", type=int, required=True)
    options.add_argument("--kernel", choices=("ours", "inductor"), default="ours")
    chosen = options.parse_args()
    of = (chosen.law, chosen.precision, tuple(chosen.grid), chosen.slots, chosen.kernel)
    api = Batched(of) if chosen.kind == "batched" else Continuous(of, stream=True, loop=ContinuousBatchingLoop())
    server = ls.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=False)
    server.run(host="127.0.0.1", port=chosen.port, generate_client_file=False, log_level="warning", num_api_servers=1)


if __name__ == "__main__":
    main()
