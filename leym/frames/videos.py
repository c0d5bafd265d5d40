"""MP4 videos (H.264), encoded one frame at a time by PyAV, the extra `video`. Nothing else imports it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

THREADS = 2  # of the encoder; the API has other work. The bytes differ a little from one encoding to the next
QUALITY = "16"  # constant rate factor of x264: 0 is lossless, 18 looks lossless, 51 is worst


def mp4(
    path: str | os.PathLike[str], frames: Iterable[NDArray[np.uint8]], fps: float, scale: int, comment: str
) -> None:
    """Write an MP4 that browsers play.

    The sides of a video of H.264 are even: the last row or column is repeated where they are not.

    Args:
        path: file to write.
        frames: uint8 [H, W, 3], of one size.
        fps: frames per second.
        scale: pixels per cell side.
        comment: text for the metadata `comment`.

    Raises:
        ModuleNotFoundError: PyAV is not installed.
    """
    import av

    with av.open(os.fspath(path), "w", format="mp4", options={"movflags": "faststart"}) as file:
        file.metadata["comment"] = comment
        stream = None
        for frame in frames:
            pixels = np.ascontiguousarray(frame.repeat(scale, 0).repeat(scale, 1))
            even = np.pad(pixels, ((0, pixels.shape[0] % 2), (0, pixels.shape[1] % 2), (0, 0)), "edge")
            if stream is None:
                stream = file.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
                stream.height, stream.width = even.shape[:2]
                stream.pix_fmt, stream.thread_count = "yuv420p", THREADS
                stream.options = {"crf": QUALITY, "preset": "fast"}
            file.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        if stream is not None:
            file.mux(stream.encode(None))
