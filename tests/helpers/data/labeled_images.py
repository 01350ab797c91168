"""Images whose objects are one colour each, so that pixels say where an object is."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from fcos.augmentation.labeled_image import LabeledImage

BACKGROUND = (40, 40, 40)
# Far apart from each other, from the background and from what is blank.
OBJECT_COLORS = ((250, 30, 30), (30, 250, 30), (30, 30, 250), (250, 250, 30), (250, 30, 250))
MASK_SIDE = 32


def labeled_image(
    size: tuple[int, int], boxes: Sequence[Sequence[float]] = (), *, masks: bool = False, first_label: int = 0
) -> LabeledImage:
    """Return an image with boxes filled with the colour of their number; label i has colour i.

    Masks cover the upper half of each box, and so does the colour then.
    """
    pixels = torch.tensor(BACKGROUND, dtype=torch.uint8).repeat(*size, 1)
    for number, (x1, y1, x2, y2) in enumerate(boxes):
        bottom = (y1 + y2) / 2 if masks else y2
        color = OBJECT_COLORS[(first_label + number) % len(OBJECT_COLORS)]
        pixels[round(y1) : round(bottom), round(x1) : round(x2)] = torch.tensor(color, dtype=torch.uint8)
    upper = torch.zeros(len(boxes), MASK_SIDE, MASK_SIDE, dtype=torch.bool)
    upper[:, : MASK_SIDE // 2] = True
    return LabeledImage(
        pixels.permute(2, 0, 1),
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.arange(first_label, first_label + len(boxes)),
        upper if masks else None,
    )


def object_extent(item: LabeledImage, label: int) -> Float[Tensor, " 4"]:
    """Return the box (xyxy) around the pixels that are nearer to the object's colour than to others'."""
    palette = torch.tensor([*OBJECT_COLORS, BACKGROUND, (124, 116, 104)]).float()
    distance = (item.image.permute(1, 2, 0).float()[:, :, None] - palette).pow(2).sum(dim=-1)
    rows, columns = (distance.argmin(dim=-1) == label % len(OBJECT_COLORS)).nonzero(as_tuple=True)
    edges = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return torch.stack(edges).float()
