"""Reads frames, observables and states of many members of a sweep, each object once."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from leym.contract.member_states import MemberState, MemberStates
from leym.contract.records import Job, JobState
from leym.frames.chunks import WHOLE, read_rows
from leym.frames.layout import TABLE, ArraySpec, arrays_of
from leym.frames.manifest import CommittedArray, committed_arrays, visible_frames
from leym.frames.shards import EMPTY, DamagedError, decode_frame, index_bytes, parse_index
from leym.frames.stores.base import Missing, Store
from leym.frames.sweep_layout import Indices, row_indices

STATES = tuple(str(state) for state in JobState)  # the codes of states are positions in it
_ENDED = {
    MemberState.SUCCEEDED: JobState.SUCCEEDED,
    MemberState.FAILED: JobState.FAILED,
    MemberState.CANCELLED: JobState.CANCELLED,
}


@dataclass
class Block:
    """A row of a sweep, decoded when it is needed.

    Attributes:
        row: row of a block, or of one job of a sweep without blocks.
        indices: int64 [members], increasing: the members in the order of their places.
    """

    row: Job
    indices: Indices

    @cached_property
    def states(self) -> MemberStates:
        """States of the members."""
        row = self.row
        if row.indices is not None:
            return MemberStates.parse(row.member_states, row.members)
        states = MemberStates.new(1)
        if row.manifest:
            states.step[0] = row.step
        ended = [name for name, state in _ENDED.items() if state == row.state]
        if ended:
            states.end([0], ended[0], problem=row.error)
        return states

    @cached_property
    def arrays(self) -> dict[str, ArraySpec]:
        """Arrays by name."""
        return {array.name: array for array in arrays_of(self.row)}

    @cached_property
    def committed(self) -> dict[str, CommittedArray]:
        """Committed objects by the name of their array."""
        return committed_arrays(self.row.manifest, list(self.arrays.values()))

    @cached_property
    def _visible(self) -> dict[str, int]:
        return visible_frames(self.row, self.committed, list(self.arrays.values()))

    def frames(self, array: ArraySpec, places: Indices) -> Indices:
        """Count the frames that readers see of some members: int64 [n]."""
        if not self.row.manifest or self.row.gone(time.time()):
            return np.zeros(len(places), np.int64)
        if array.members == 1:
            return np.full(len(places), self._visible[array.name])
        return self.states.step[places] // array.every + 1

    def codes(self, places: Indices) -> NDArray[np.uint8]:
        """Return the states of some members as positions in STATES: uint8 [n]."""
        own = np.full(len(MemberState), STATES.index(str(self.row.state)), np.uint8)
        for state, name in _ENDED.items():
            own[state] = STATES.index(str(name))
        return own[self.states.state[places]]

    def errors(self, places: Indices) -> list[str]:
        """Return why some members failed, "" for others."""
        shared = (self.row.error or {}).get("detail", "") if self.row.state == JobState.FAILED else ""
        texts = [shared, *(str(problem.get("detail", "")) for problem in self.states.problems)]
        live = self.states.state[places] == MemberState.LIVE
        return [
            texts[number] if number or alive else ""
            for number, alive in zip(self.states.problem[places].tolist(), live.tolist(), strict=True)
        ]


class SweepReader:
    """Reads many members of a sweep at once."""

    def __init__(self, store: Store, rows: Sequence[Job]):
        """Set up the reader; nothing is read yet.

        Args:
            store: object store of the service.
            rows: rows of the sweep's blocks, older ones first, or of its jobs in the order of their indices.
        """
        self._store = store
        self._blocks = [Block(row, row_indices(row, number)) for number, row in enumerate(rows)]

    def locate(self, indices: Indices) -> Iterator[tuple[Block, Indices, Indices]]:
        """Find the blocks of some members.

        Args:
            indices: int64 [n], increasing.

        Yields:
            A block, the places in it of some members, and their positions in `indices`. The newest block that has a
            member counts, unless the member has moved to another one.
        """
        owner, place = np.full(len(indices), -1, np.int64), np.zeros(len(indices), np.int64)
        for number, block in enumerate(self._blocks):
            own = block.indices
            if not len(indices) or own[0] > indices[-1] or own[-1] < indices[0]:
                continue
            at = np.minimum(np.searchsorted(own, indices), len(own) - 1)
            found = np.flatnonzero(own[at] == indices)
            if len(found):
                found = found[block.states.state[at[found]] != MemberState.MOVED]
                owner[found], place[found] = number, at[found]
        for number in np.unique(owner[owner >= 0]).tolist():
            positions = np.flatnonzero(owner == number)
            yield self._blocks[number], place[positions], positions

    def field(self, name: str, indices: Indices, first: int, end: int) -> NDArray[Any]:
        """Read the frames [first, end) of a field: [n, end - first, H, W(, d)], NaN where they are not committed.

        Raises:
            Missing: a committed object is missing.
            DamagedError: a committed object is damaged.
        """
        found: NDArray[Any] | None = None
        for block, places, positions in self.locate(indices):
            array = block.arrays[name]
            if found is None:
                found = np.full((len(indices), end - first, *array.shape), np.nan, array.dtype)
            for shard, some, counts in self._shards(block, array, places, first, end):
                self._fill(block, array, shard, places[some], counts, positions[some], first, end, found)
        if found is None:
            raise LookupError(f"no block has the members {indices.tolist()[:3]}")
        return found

    def observable(self, name: str, indices: Indices, first: int, end: int) -> NDArray[np.float64]:
        """Read the recorded values [first, end) of an observable: [n, end - first]. Errors are those of `field`."""
        found = np.full((len(indices), end - first), np.nan)
        for block, places, positions in self.locate(indices):
            array = block.arrays[TABLE]
            for shard, some, counts in self._shards(block, array, places, first, end):
                begin, last = array.first_frame(shard), min(int(counts.max()), end)
                key = block.committed[TABLE].key(block.row.id, array, shard)
                table = read_rows(self._store, key, array, shard, min(last - begin, array.per_shard))
                start, stop = max(first, begin), min(last, begin + array.per_shard)
                rows = table[places[some] - array.places_in(shard).start, :, array.columns.index(name)]
                there = np.arange(start, stop) < counts[:, None]
                part = found[positions[some], start - first : stop - first]
                found[positions[some], start - first : stop - first] = np.where(
                    there, rows[:, start - begin : stop - begin], part
                )
        return found

    def _shards(
        self, block: Block, array: ArraySpec, places: Indices, first: int, end: int
    ) -> Iterator[tuple[int, Indices, Indices]]:
        """Iterate over the shards with committed frames in [first, end): shard, which of `places`, their frames."""
        counts, columns = block.frames(array, places), places // array.shard_members
        for row in range(first // array.per_shard, -(-end // array.per_shard)):
            begin = max(first, row * array.per_shard)
            for column in np.unique(columns).tolist():
                some = np.flatnonzero((columns == column) & (counts > begin))
                if len(some):
                    yield row * array.member_shards + column, some, counts[some]

    def _fill(
        self,
        block: Block,
        array: ArraySpec,
        shard: int,
        places: Indices,
        counts: Indices,
        positions: Indices,
        first: int,
        end: int,
        found: NDArray[Any],
    ) -> None:
        """Read the frames of some members from one object into `found`."""
        begin = array.first_frame(shard)
        chunks = (places - array.places_in(shard).start) // array.chunk_members
        start, stop = max(first, begin), min(end, begin + array.per_shard)
        wanted = []  # chunk, frame
        for chunk in np.unique(chunks).tolist():
            last = min(int(counts[chunks == chunk].max()), stop)
            wanted += [(chunk, frame) for frame in range(start, last)]
        numbers = [chunk * array.per_shard + frame - begin for chunk, frame in wanted]
        key = block.committed[array.name].key(block.row.id, array, shard)
        parts = read_parts(self._store, key, array.member_chunks * array.per_shard, numbers)
        for (chunk, frame), part in zip(wanted, parts, strict=True):
            shape = (array.chunk_members, *array.shape)
            values = decode_frame(part, array.dtype, shape, array.compressed)
            some = (chunks == chunk) & (counts > frame)
            found[positions[some], frame - first] = values[places[some] % array.chunk_members]


def read_parts(store: Store, key: str, places: int, numbers: Sequence[int]) -> list[bytes]:
    """Read some encoded chunks of a shard: the whole object, or its index and one range.

    Args:
        store: object store of the service.
        key: key of the object.
        places: number of places for chunks in it.
        numbers: places of the wanted chunks, increasing.

    Raises:
        Missing: there is no such object.
        DamagedError: the object is damaged, or lacks one of the chunks.
    """
    tail = index_bytes(places)
    if len(numbers) > WHOLE * places:
        data, offset = store.get(key), 0
        index = parse_index(data[-tail:], places, len(data))
    else:
        size = store.head(key)
        if size is None:
            raise Missing(key)
        index = parse_index(store.get_range(key, max(0, size - tail), tail), places, size)
    chosen = index[list(numbers)]
    if (chosen[:, 0] == EMPTY).any():
        raise DamagedError("a committed frame is missing")
    if len(numbers) <= WHOLE * places:
        offset, end = int(chosen[0, 0]), int(chosen[-1].sum())
        data = store.get_range(key, offset, end - offset)
    return [data[at - offset : at - offset + length] for at, length in chosen.tolist()]
