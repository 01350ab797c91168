"""The canvas of a picture has a bounded size in memory, and drawing errors become notes."""

import subprocess
import sys

import pytest
import torch

from fcos.drawing.canvas import LONG_SIDE, TITLE_HEIGHT, canvas_of, picture_or_note

# Virtual memory that may be added for the pictures of an image of 195 million pixels, itself 585 MB.
PICTURE_BYTES = 1 << 30
LIMITED = f"""
import resource, torch
from fcos.drawing.assignment import draw_assignment
from fcos.drawing.boxes import draw_boxes
from fcos.structures import Assignment, Locations, Targets
pixels = torch.zeros(13_000, 15_000, 3, dtype=torch.uint8).permute(2, 0, 1)
boxes, labels = torch.tensor([[0.0, 0.0, 9_000.0, 9_000.0]]), torch.zeros(1, dtype=torch.long)
rows, columns = 102, 118
y, x = torch.meshgrid(torch.arange(rows) * 128.0, torch.arange(columns) * 128.0, indexing="ij")
xy = torch.stack([x, y], dim=-1).reshape(-1, 2)
number = len(xy)
locations = Locations(xy, torch.full((number,), 128.0), ((rows, columns),), ((0.0, 0.0),), ((128.0, 128.0),), (128,))
zeros = torch.zeros(1, number, dtype=torch.long)
assignment = Assignment(zeros, zeros, torch.ones(1, number, 4), torch.ones(1, number))
targets = Targets(boxes[None], labels[None], torch.ones(1, 1, dtype=torch.bool))
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {PICTURE_BYTES},) * 2)
print(draw_boxes(pixels, boxes, labels, ["a"]).size)
print(draw_assignment(pixels, targets, assignment, locations, titles=["P7"]).size)
"""


@pytest.mark.ray
@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc and a limit on virtual memory")
def test_pictures_of_a_huge_image_take_bounded_memory() -> None:
    result = subprocess.run([sys.executable, "-c", LIMITED], capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr
    height = round(13_000 * LONG_SIDE / 15_000) + TITLE_HEIGHT
    assert result.stdout.splitlines()[0] == str((LONG_SIDE, height))


def test_fading_mixes_in_white() -> None:
    picture, _ = canvas_of(torch.zeros(3, 400, 400, dtype=torch.uint8), "", fade=0.5)
    assert picture.getpixel((200, 200)) in ((127, 127, 127), (128, 128, 128))


def test_a_drawing_error_becomes_a_note() -> None:
    def fail() -> int:
        raise MemoryError

    assert picture_or_note(fail, "the map") == (None, "the map could not be drawn (MemoryError)")
    assert picture_or_note(lambda: 3, "the map") == (3, "")
