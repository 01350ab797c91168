"""The size that an image is resized to: arithmetic alone, which the checks before a start need too."""

from fcos.config.choices import BoxConvention


def resized_size(
    size: tuple[int, int], short_side: int, long_side: int, box_convention: BoxConvention = "plain"
) -> tuple[int, int]:
    """Return (height, width) with the shorter side at `short_side`, or less so that the longer fits `long_side`.

    plain rounds both sides as detectron2 does, int(side + 0.5). inclusive rounds as maskrcnn-benchmark: where the
    longer side limits, the shorter is rounded half to even; the longer side is then truncated.
    """
    low, high = min(size), max(size)
    if box_convention == "plain":
        # In two steps, as detectron2, because another order may round a half differently.
        sides = [side * (short_side / low) for side in size]
        if max(sides) > long_side:
            sides = [side * (long_side / max(sides)) for side in sides]
        height, width = (max(int(side + 0.5), 1) for side in sides)
        return height, width
    if high / low * short_side > long_side:
        short_side = max(round(long_side * low / high), 1)
    longer = int(short_side * high / low)
    return (short_side, longer) if size[0] <= size[1] else (longer, short_side)
