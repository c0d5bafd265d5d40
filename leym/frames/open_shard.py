"""OpenShard: the values of one shard in memory, while it fills up or is read as a whole."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from leym.frames.layout import ArraySpec
from leym.frames.shards import decode_frame, encode_frame, pack_shard, pack_table, parse_table, split_shard


class OpenShard:
    """The values of one shard, and which of its chunks have any.

    A row is a member of the shard: its place less that of the first one. A column is a frame of the shard. Values of
    missing frames are NaN in chunks that have other frames, and undefined in chunks that are missing. Where a chunk is
    one frame of one member it is encoded at once, and its values are not kept: large frames would be copied once more.

    Attributes:
        array: the array.
        places: places of the members.
        first_frame: the first frame of the shard.
        present: bool [chunks over the members, frames], False for missing chunks; of a table, whether a frame has rows.
        dirty: True if something has changed since the values were encoded or decoded.
    """

    def __init__(self, array: ArraySpec, shard: int):
        """Set up a shard without any frames."""
        self.array, self.places, self.first_frame = array, array.places_in(shard), array.first_frame(shard)
        rows, self._frames = self.places.stop - self.places.start, array.frames_in(shard)
        self._together = array.chunk_members
        self._at_once = self._together == 1 and not array.is_table
        chunks = -(-rows // self._together)
        self._rows = rows
        # pages that are never written take no memory
        self._values = np.empty((chunks, self._together, self._frames, *array.shape), array.dtype)
        self.present = np.zeros((chunks, self._frames), bool)
        self._encoded = np.empty((chunks, self._frames), object)  # bytes of each chunk
        self._stale = np.ones((chunks, self._frames), bool)  # chunks that are not encoded, or have changed since
        self.dirty = False

    @classmethod
    def decode(cls, array: ArraySpec, shard: int, data: bytes) -> OpenShard:
        """Decode an object.

        Raises:
            DamagedError: the bytes are not those that were written.
        """
        found = cls(array, shard)
        if array.is_table:
            table = parse_table(data, found._rows, len(array.columns))
            columns = min(table.shape[1], found._frames)
            found._values[:, 0, :columns] = table[:, :columns]
            found.present[:, :columns] = True
            return found
        parts = np.empty((array.member_chunks, array.per_shard), object)
        parts.flat[:] = split_shard(data, parts.size)
        found._encoded[:] = parts[: len(found._encoded), : found._frames]
        found.present = np.array([[part is not None for part in row] for row in found._encoded], bool)
        found.present = found.present.reshape(found._encoded.shape)
        found._stale = ~found.present
        for chunk, frame in np.argwhere(found.present).tolist():
            values = found._decoded(chunk, frame)
            if not found._at_once:
                found._values[chunk, :, frame] = values
        return found

    def encode(self) -> list[bytes]:
        """Encode the object, in parts; chunks that have not changed since the last time are not encoded again."""
        array = self.array
        if array.is_table:
            return [pack_table(self._values[:, 0, : self.filled])]
        changed = self.present & self._stale
        for chunk, frame in zip(*(axis.tolist() for axis in changed.nonzero()), strict=True):
            self._encoded[chunk, frame] = encode_frame(self._values[chunk, :, frame], array.compressed)
        self._stale ^= changed
        chunks, frames = self.present.nonzero()
        parts = self._encoded[chunks, frames].tolist()
        return pack_shard(parts, chunks * array.per_shard + frames, array.member_chunks * array.per_shard)

    @property
    def filled(self) -> int:
        """Number of frames at the beginning that some members have."""
        return int(self.present.any(0).sum())

    @property
    def values(self) -> NDArray[Any]:
        """Values of all members: [members, frames, ...], NaN where frames are missing."""
        for chunk, frame in np.argwhere(~self.present).tolist():
            self._values[chunk, :, frame] = np.nan
        for chunk, frame in np.argwhere(self.present).tolist() if self._at_once else []:
            self._values[chunk, :, frame] = self._decoded(chunk, frame)
        flat: NDArray[Any] = self._values.reshape(-1, *self._values.shape[2:])
        return flat[: self._rows]

    def put(self, places: NDArray[np.int64], frame: int, values: NDArray[Any]) -> None:
        """Set one frame of some members.

        Args:
            places: places of the members, int64 [n], increasing.
            frame: number of the frame in its array.
            values: [n, ...].
        """
        column, rows = frame - self.first_frame, places - self.places.start
        if self._at_once:
            self._touch(rows, column)
            for row, value in zip(rows.tolist(), values, strict=True):
                self._encoded[row, column] = encode_frame(value, self.array.compressed)
            self._stale[rows, column] = False
            return
        chunks = rows // self._together
        self._touch(np.unique(chunks), column)
        self._values[chunks, rows % self._together, column] = values

    def copy_rows(self, places: NDArray[np.int64], source: OpenShard) -> None:
        """Take all frames of some members from another version of the shard."""
        rows = places - self.places.start
        chunks, within = rows // self._together, rows % self._together
        for column in np.flatnonzero(source.present[chunks].any(0)).tolist():
            some = source.present[chunks, column]
            self._touch(np.unique(chunks[some]), column)
            if self._at_once:
                self._encoded[chunks[some], column] = source._encoded[chunks[some], column]
                self._stale[chunks[some], column] = False
            else:
                self._values[chunks[some], within[some], column] = source._values[chunks[some], within[some], column]

    def truncate(self, counts: NDArray[np.int64]) -> None:
        """Forget later frames of each member.

        Args:
            counts: number of frames of the array that each member of the shard keeps, int64 [members of the shard].
        """
        kept = np.zeros(len(self.present) * self._together, np.int64)
        kept[: self._rows] = counts - self.first_frame
        gone = np.arange(self._frames) >= kept[:, None]
        gone = gone.reshape(len(self.present), self._together, self._frames)
        changed = self.present & gone.any(1)
        if not self._at_once:
            self._values[gone & changed[:, None]] = np.nan
            self._stale[changed] = True
        self.present &= ~gone.all(1)

    def lacks(self, places: NDArray[np.int64], count: int) -> bool:
        """Return True if one of the first `count` frames of the array is missing for one of the members."""
        chunks = (places - self.places.start) // self._together
        return not self.present[chunks, : max(count - self.first_frame, 0)].all()

    def _decoded(self, chunk: int, frame: int) -> NDArray[Any]:
        """Decode a chunk: [members of a chunk, ...]; raises DamagedError if its bytes are not those written."""
        shape = (self._together, *self.array.shape)
        return decode_frame(self._encoded[chunk, frame], self.array.dtype, shape, self.array.compressed)

    def _touch(self, chunks: NDArray[np.int64], column: int) -> None:
        """Prepare chunks of one frame for new values."""
        if self.array.is_table:
            if self.array.members > 1 and not self.present[:, column].any():
                self._values[:, :, column] = np.nan
            self.present[:, column] = True
        else:
            if self._together > 1:
                new = chunks[~self.present[chunks, column]]
                self._values[new, :, column] = np.nan
            self.present[chunks, column] = True
        self._stale[chunks, column] = True
        self.dirty = True
