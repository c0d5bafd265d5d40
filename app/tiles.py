"""Small pictures of many jobs in one answer, for walls of tiles: a few frames of each, in one or two bytes per number.

A wall of 48 running universes so asks once a second for all of them, instead of once for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from app.frame_messages import Encoding, encode
from app.services import Services
from leym.contract.catalog import FIELDS
from leym.contract.problems import Problem
from leym.contract.records import Job
from leym.frames.reader import FrameReader


def generate_tiles(services: Services, jobs: Sequence[Job], frames: int, side: int) -> Iterator[bytes]:
    """Yield the messages of the tiles, job by job, as `app.frame_messages.encode` makes them.

    Jobs that cannot be shown, because their results are gone, nothing is recorded yet, or only psi is, have no message.

    Args:
        services: The services of the jobs' project.
        jobs: The jobs.
        frames: Most frames of a job: the newest, and others before it at equal distances.
        side: Most cells of a tile's longer side; of larger grids, every n-th cell is sent.
    """
    for job in jobs:
        try:
            yield from _tile(services, job, frames, side)
        except Problem:  # deleted, expired or damaged since: the others are shown all the same
            continue


def _tile(services: Services, job: Job, frames: int, side: int) -> Iterator[bytes]:
    reader = FrameReader(services.store, job, partial(services.table.get, job.id))
    shown = [
        field for field in reader.fields() if field["committed"] and "complex64" not in FIELDS[field["name"]].dtypes
    ]
    if not shown:
        return
    name, (_, height, width, *_) = shown[0]["name"], shown[0]["shape"]
    info = FIELDS[name]
    is_coded = info.cyclic or info.components == 3  # values of other fields may be small parts of their range
    encoding = Encoding(name, "u8" if is_coded else "f16", -(-max(height, width) // side))
    steps = reader.steps(name)
    stride = -(-len(steps) // frames)
    chosen = steps[::-1][::stride][::-1].tolist()
    if len(chosen) == 1:  # the newest frame of a job that runs: others look at it too
        yield from (message for _, message in services.frame_cache.messages(reader, chosen, encoding))
        return
    for step, frame in reader.frames(name, chosen[0], chosen[-1] + 1, stride):
        yield encode(job.id, step, frame, encoding)
