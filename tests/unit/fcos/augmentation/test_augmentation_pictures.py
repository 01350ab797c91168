"""Golden pictures: what each augmentation makes of a drawn image, pixel by pixel and box by box.

`FCOS_LAB_WRITE_GOLDEN=1 pytest -n 0 tests/unit/fcos/augmentation/test_augmentation_pictures.py` writes them.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torchvision.transforms.v2.functional import pil_to_tensor, to_pil_image

from fcos.augmentation.augment import augment, draws_of
from fcos.augmentation.labeled_image import LabeledImage
from fcos.config.augmentation import AugmentationConfig
from fcos.data.synthetic import shape_mask
from fcos.studies.draw_augmentation import ALONE

GOLDEN = Path(__file__).parents[3] / "golden" / "augmentation"
SIZE = (96, 128)
# A mosaic of three images, and a pasted object.
KEY = (0, 0, 199)
# Processors round resized and distorted pixels differently.
TOLERANCE = 4


def drawn(color: str, boxes: list[tuple[int, int, int, int]]) -> LabeledImage:
    """Draw discs on a shaded background, each tight in its box, with a stripe."""
    height, width = SIZE
    picture = Image.linear_gradient("L").resize((width, height)).convert("RGB")
    pen = ImageDraw.Draw(picture)
    masks = []
    for x1, y1, x2, y2 in boxes:
        pen.ellipse((x1, y1, x2 - 1, y2 - 1), fill=color)
        pen.line((x1, (y1 + y2) // 2, (x1 + x2) // 2, (y1 + y2) // 2), fill="white", width=3)
        masks.append(shape_mask("disc", 32, 32))
    labels = torch.arange(len(boxes))
    return LabeledImage(pil_to_tensor(picture), torch.tensor(boxes).float(), labels, torch.from_numpy(np.stack(masks)))


def augmented(name: str) -> LabeledImage:
    item = drawn("orangered", [(6, 8, 46, 40), (70, 30, 120, 90)])
    others = [
        drawn("royalblue", [(20, 20, 80, 76), (90, 60, 122, 92)]),
        drawn("gold", [(4, 50, 60, 92)]),
    ]
    config = AugmentationConfig(**ALONE[name])
    return augment(item, config, lambda each: draws_of(*KEY, each), lambda index: others[index], len(others))


@pytest.mark.parametrize("name", ALONE)
def test_the_picture_is_the_golden_one(name: str) -> None:
    result = augmented(name)
    picture, boxes = GOLDEN / f"{name}.png", GOLDEN / f"{name}.txt"
    rows = [
        " ".join([str(label), *(f"{side:.3f}" for side in box)])
        for label, box in zip(result.labels.tolist(), result.boxes.tolist(), strict=True)
    ]
    if os.environ.get("FCOS_LAB_WRITE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        to_pil_image(result.image).save(picture, optimize=True)
        boxes.write_text("\n".join(rows) + "\n")
    expected = np.loadtxt(boxes, ndmin=2)
    found = np.array([row.split() for row in rows], dtype=float)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.01)
    golden = pil_to_tensor(Image.open(picture)).int()
    assert (result.image.int() - golden).abs().max() <= TOLERANCE
