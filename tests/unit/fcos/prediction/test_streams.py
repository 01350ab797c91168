"""Parts of a batch side by side: order, sizes, threads, errors."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch

from fcos.prediction.batches import Predicted, predict_images
from fcos.prediction.predictor import Predictor
from fcos.prediction.sources import ImageFile
from fcos.prediction.streams import PART_PIXELS, Streams

Save = Callable[..., Path]


@pytest.fixture(autouse=True)
def own_threads() -> Iterator[None]:
    """Gives torch's threads back, of which later tests of the process would get others."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


class Calls:
    """Doubles numbers, and keeps the parts that it was called with and torch's threads meanwhile."""

    def __init__(self) -> None:
        self.parts: list[list[int]] = []
        self.threads: set[int] = set()

    def __call__(self, part: Sequence[int]) -> list[int]:
        self.parts.append([*part])
        self.threads.add(torch.get_num_threads())
        return [2 * item for item in part]


@pytest.mark.parametrize(
    ("threads", "count", "pixels", "sizes", "each"),
    [
        (2, 8, PART_PIXELS, [1] * 8, 1),
        (2, 5, 10 * PART_PIXELS, [1] * 5, 1),
        (2, 8, 128 * 128, [4, 4], 1),
        (8, 2, 128 * 128, [1, 1], 4),
        (1, 3, PART_PIXELS, [1] * 3, 1),
        (1, 3, 128 * 128, [3], 1),
        (4, 1, 128 * 128, [1], 4),
    ],
)
def test_parts_share_the_threads(threads: int, count: int, pixels: int, sizes: list[int], each: int) -> None:
    torch.set_num_threads(threads)
    calls = Calls()
    assert Streams().map(calls, range(count), pixels) == [2 * item for item in range(count)]
    assert sorted(map(len, calls.parts)) == sizes and calls.threads == {each}
    assert torch.get_num_threads() == threads


def test_an_error_is_raised_when_no_part_is_at_work() -> None:
    torch.set_num_threads(2)
    calls = Calls()

    def fail(part: Sequence[int]) -> list[int]:
        if 0 in part:
            raise RuntimeError("can't allocate memory")
        return calls(part)

    streams = Streams()
    with pytest.raises(RuntimeError, match="can't allocate memory"):
        streams.map(fail, range(4), PART_PIXELS)
    assert sorted(calls.parts) == [[1], [2], [3]] and torch.get_num_threads() == 2
    assert streams.map(calls, range(2), PART_PIXELS) == [0, 2]


def test_detections_do_not_depend_on_the_number_of_threads(
    tmp_path: Path, save_image: Save, predictor: Predictor
) -> None:
    names = [f"{number}.png" for number in range(9)]
    files = [ImageFile(save_image(tmp_path / name, (64, 48)), name, (48, 64)) for name in names]
    found = {}
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found[threads] = [item for item in predict_images(predictor, files, 4) if isinstance(item, Predicted)]
    assert [item.file.name for item in found[1]] == [item.file.name for item in found[3]] == names
    for one, other in zip(found[1], found[3], strict=True):
        assert torch.equal(one.detections.labels, other.detections.labels)
        torch.testing.assert_close(one.detections.scores, other.detections.scores, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(one.detections.boxes, other.detections.boxes, rtol=1e-4, atol=1e-2)
