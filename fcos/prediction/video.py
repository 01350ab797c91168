"""Frames of video files in, annotated videos out, by PyAV (FFmpeg), which is the extra fcos-lab[video]."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from fcos.errors import ConfigError, DataError
from fcos.storage.files import flush_to_disk

if TYPE_CHECKING:
    import av
    from av.video.stream import VideoStream

# Frames a second of a video without that number.
DEFAULT_RATE: Final = Fraction(25)
# Of a video's clock a second.
TICKS: Final = 90_000
# Without libx264, as some builds of FFmpeg are.
CODECS: Final = ("libx264", "mpeg4")


@dataclass(frozen=True)
class Frame:
    """A frame as it is shown: its index from 0, its time, and its pixels, turned upright."""

    index: int
    seconds: float
    pixels: UInt8[Tensor, "3 H W"]


def check_pyav(path: Path) -> None:
    """Raise ConfigError where PyAV is not installed; `path` is the video that needs it."""
    try:
        import av  # noqa: F401
    except ImportError:
        raise ConfigError(f"{path}: reading videos needs PyAV: pip install 'fcos-lab[video]'") from None


class VideoReader:
    """Iterates over the frames of a video file, and counts what could not be decoded.

    Raises DataError where the file is no video or ends as a broken one.
    """

    def __init__(self, path: Path) -> None:
        import av

        self._path = path
        try:
            # Playlists would otherwise have other files and addresses read.
            self._container = av.open(str(path), options={"protocol_whitelist": "file"})
            stream = next(iter(self._container.streams.video), None)
        except (av.FFmpegError, OSError) as error:
            raise DataError(f"{path}: is not a video that can be read ({_reason(error)})") from None
        if stream is None:
            raise DataError(f"{path}: has no video stream")
        stream.thread_type = "AUTO"
        self._stream: VideoStream = stream
        # From version 19 on PyAV has a class of its own for them.
        rate = stream.average_rate or DEFAULT_RATE
        self.rate = Fraction(rate.numerator, rate.denominator)
        # 0 where the container has no such number.
        self.num_frames = stream.frames or int(float(stream.duration or 0) * (stream.time_base or 0) * self.rate)
        self.num_broken = 0

    def __iter__(self) -> Iterator[Frame]:
        import av

        index = 0
        try:
            for packet in self._container.demux(self._stream):
                try:
                    frames = packet.decode()
                except av.InvalidDataError:
                    self.num_broken += 1
                    continue
                for frame in frames:
                    seconds = float(index / self.rate) if frame.time is None else frame.time
                    yield Frame(index, seconds, _pixels(frame))
                    index += 1
        except av.FFmpegError as error:
            raise DataError(f"{self._path}: cannot be read after frame {index} ({_reason(error)})") from None
        finally:
            self._container.close()


def _pixels(frame: "av.VideoFrame") -> UInt8[Tensor, "3 H W"]:
    """Return a frame as RGB; phones store how it was held as a rotation."""
    rgb = frame.to_ndarray(format="rgb24")
    turned = np.rot90(rgb, round(frame.rotation / 90) % 4)
    return torch.from_numpy(np.ascontiguousarray(turned).astype(np.uint8, copy=False)).permute(2, 0, 1)


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


class VideoWriter:
    """Writes pictures of one size as an H.264 video; the file is there only when it is whole, or cut by an error.

    The size is that of the first picture, one pixel less where it is odd. Raises OSError where the file cannot be made.
    """

    def __init__(self, path: Path, rate: Fraction) -> None:
        import av

        self._path = path
        self._temporary = path.with_name(f".{path.name}.partial")
        self._container = av.open(str(self._temporary), "w", format="mp4")
        codec = next(name for name in CODECS if name in av.codecs_available)
        self._stream = self._container.add_stream(codec, rate=rate.limit_denominator(10_000))
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = Fraction(1, TICKS)
        self._last = -1

    def __enter__(self) -> "VideoWriter":
        return self

    def write(self, picture: Image.Image, seconds: float) -> None:
        """Write a picture that is shown from a time on; raises DataError where the video cannot be written."""
        import av

        if self._last < 0:
            # Chroma has half the resolution.
            self._stream.width, self._stream.height = picture.width // 2 * 2, picture.height // 2 * 2
        cut = picture.crop((0, 0, self._stream.width, self._stream.height))
        frame = av.VideoFrame.from_ndarray(np.asarray(cut), format="rgb24")
        self._last = max(round(seconds * TICKS), self._last + 1)
        frame.pts, frame.time_base = self._last, Fraction(1, TICKS)
        self._encode(frame)

    def _encode(self, frame: "av.VideoFrame | None") -> None:
        """Encode a frame, or with None what is still in the encoder."""
        import av

        try:
            self._container.mux(self._stream.encode(frame))
        except av.FFmpegError as error:
            raise DataError(f"{self._path}: cannot be written ({_reason(error)})") from None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import av

        if self._last < 0:
            with suppress(av.FFmpegError):
                self._container.close()
            self._temporary.unlink(missing_ok=True)
            return
        self._encode(None)
        self._container.close()
        flush_to_disk(self._temporary)
        self._temporary.replace(self._path)
