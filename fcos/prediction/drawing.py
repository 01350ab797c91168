"""Pictures of detections, drawn and encoded in the background."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final

from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from fcos.drawing.boxes import draw_boxes
from fcos.structures import Detections

# Longest side of a picture in pixels: what a screen shows.
PICTURE_SIDE: Final = 2048
# Pictures that wait for being drawn, each with its image in memory.
AHEAD: Final = 4


def draw_picture(pixels: UInt8[Tensor, "3 H W"], detections: Detections, classes: tuple[str, ...]) -> Image.Image:
    """Draw all detections of an image on it."""
    return draw_boxes(
        pixels, detections.boxes, detections.labels, classes, detections.scores, title=None, long_side=PICTURE_SIDE
    )


class PictureFolder:
    """Draws pictures in a thread and writes them to a folder; one that fails costs no more than itself.

    `on_failure` is called with a message, in the caller's thread.
    """

    def __init__(self, folder: Path, classes: tuple[str, ...], on_failure: Callable[[str], None]) -> None:
        self._folder = folder
        self._classes = classes
        self._on_failure = on_failure
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="draw")
        self._pending: deque[Future[str | None]] = deque()

    def __enter__(self) -> "PictureFolder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._settle(0)
        self._pool.shutdown()

    def add(self, name: str, pixels: UInt8[Tensor, "3 H W"], detections: Detections) -> None:
        """Have the picture of an image drawn; `name` is its path in the folder, without the picture's suffix."""
        self._settle(AHEAD - 1)
        self._pending.append(self._pool.submit(self._draw, name, pixels, detections))

    def _settle(self, left: int) -> None:
        """Wait until at most this many pictures are not drawn yet."""
        while len(self._pending) > left:
            message = self._pending.popleft().result()
            if message is not None:
                self._on_failure(message)

    def _draw(self, name: str, pixels: UInt8[Tensor, "3 H W"], detections: Detections) -> str | None:
        path = self._folder / f"{name}.jpg"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_picture(pixels, detections, self._classes).save(path, quality=90)
        except Exception as error:  # the detections are complete and must not be lost for any reason
            return f"{path}: could not be drawn ({str(error) or type(error).__name__}); its detections are kept"
        return None
