"""Frames of a video, and pictures as a video, by PyAV where it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor

from detdistill.core.errors import UserError

RATE = 25
"""Frames a second of a video that does not say."""
TICKS = 60_000
"""A second of a written video, in which 24, 25, 30, 60 and 30000/1001 frames are whole numbers; MPEG-4 takes 65,535."""


class Video:
    """A video that can be decoded.

    Raises:
        UserError: PyAV is not installed, or the file has no video that it can decode.
    """

    def __init__(self, file: Path):
        if importlib.util.find_spec("av") is None:
            raise UserError(f"{file}: PyAV is needed for videos; pip install 'detdistill[video]' installs it")
        import av

        self._file, self._error = file, av.error.FFmpegError
        try:
            with av.open(str(file)) as container:
                if not container.streams.video:
                    raise UserError(f"{file}: no video in it")
                stream = container.streams.video[0]
                self.rate: Fraction = stream.average_rate or Fraction(RATE)
                self.frames: int | None = stream.frames or None
                """How many, where the file says so."""
        except self._error as error:
            raise UserError(f"{file}: a video that cannot be read: {error.strerror}") from None

    def __iter__(self) -> Iterator[tuple[float, Tensor]]:
        """Seconds since the first one, and uint8 (3, H, W), upright, a frame.

        Raises UserError where the file breaks off or cannot be decoded.
        """
        import av

        count, first = 0, 0.0
        try:
            with av.open(str(self._file)) as container:
                for frame in container.decode(video=0):
                    time = float(count / self.rate) if frame.time is None else frame.time
                    first = first if count else time
                    yield time - first, _upright(frame)
                    count += 1
        except self._error as error:
            raise UserError(f"{self._file}: cannot be decoded after frame {count}: {error.strerror}") from None
        if not count:
            raise UserError(f"{self._file}: a video without a frame that can be decoded")


def _upright(frame: Any) -> Tensor:
    """uint8 (3, H, W), turned as the file says that it is shown: a phone films on its side."""
    pixels = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)
    return pixels.rot90(round(frame.rotation / 90), (1, 2))


class Writer:
    """A video to write: H.264 where the library can, else MPEG-4; the first frame sets its size. A context manager.

    Args:
        rate: frames a second, on average.
    """

    def __init__(self, file: Path, rate: Fraction):
        self._file, self._rate, self._tick = file, rate, -1
        self._container: Any = None
        self._stream: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is not None:
            self._container.mux(self._stream.encode())
            self._container.close()

    def write(self, frame: Tensor, seconds: float) -> None:
        """One more frame, uint8 (3, H, W), and when it is shown; one that is not later than the last one is, just."""
        import av

        height, width = (side - side % 2 for side in frame.shape[1:])  # the encoders take even sides alone
        if self._container is None:
            self._container = av.open(str(self._file), "w")
            codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
            self._stream = self._container.add_stream(codec, rate=self._rate)
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
            self._stream.codec_context.time_base = Fraction(1, TICKS)
            self._stream.codec_context.max_b_frames = 0  # with them, a video of uneven times is told too short
        pixels = frame[:, :height, :width].permute(1, 2, 0).contiguous().numpy()
        picture = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        self._tick = max(self._tick + 1, round(seconds * TICKS))
        picture.pts, picture.time_base, picture.duration = self._tick, Fraction(1, TICKS), round(TICKS / self._rate)
        self._container.mux(self._stream.encode(picture))
