"""Pixels as networks get them: minus the mean, divided by the standard deviation, zero where an image is padded."""

import mmap
from typing import Final

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

# Values that are handled at a time, which stay in a core's cache from the first operation to the last.
BLOCK: Final = 1 << 18
# Bytes from which on memory is taken from the system anew for each batch, in huge pages: a page of 4 KiB that is
# touched first costs more than what is then written to it.
HUGE_FROM: Final = 32 << 20


def normalize_pixels(
    pixels: UInt8[Tensor, "B 3 H W"],
    sizes: Int[Tensor, "B 2"],
    mean: Float[Tensor, "1 3 1 1"],
    std: Float[Tensor, "1 3 1 1"],
    memory_format: torch.memory_format,
) -> Float[Tensor, "B 3 H W"]:
    """Normalize `pixels`, RGB 0..255, whatever the padding holds; `sizes` are (height, width) before padding.

    On every device bit by bit the same, which is what torchvision's detectors compute.
    """
    if _is_plain(pixels, mean):
        return _in_blocks(pixels, sizes, mean, std, memory_format)
    height, width = pixels.shape[-2:]
    rows = torch.arange(height, device=pixels.device).view(1, 1, -1, 1) < sizes[:, 0].view(-1, 1, 1, 1)
    columns = torch.arange(width, device=pixels.device).view(1, 1, 1, -1) < sizes[:, 1].view(-1, 1, 1, 1)
    # In torchvision's order of operations, so that results are bit-identical.
    normalized = (pixels / 255).to(mean.dtype).sub_(mean).div_(std)
    return normalized.masked_fill_(~(rows & columns), 0.0).contiguous(memory_format=memory_format)


def _is_plain(pixels: Tensor, mean: Tensor) -> bool:
    """Return whether pixels are in the memory of this machine, and the computation is carried out, not recorded."""
    is_traced = torch.compiler.is_compiling() or torch.jit.is_tracing()  # type: ignore[attr-defined,no-untyped-call]
    in_memory = type(pixels) is Tensor and pixels.device.type == "cpu"
    return in_memory and not is_traced and mean.dtype == torch.get_default_dtype() == torch.float32


def _in_blocks(
    pixels: Tensor, sizes: Tensor, mean: Tensor, std: Tensor, memory_format: torch.memory_format
) -> Float[Tensor, "B 3 H W"]:
    """Do the same operations on some rows after the other."""
    width = pixels.shape[-1]
    normalized = _empty(pixels.shape, memory_format)
    interleaved = memory_format == torch.channels_last
    if interleaved:
        # Rows of all colours, as they lie in memory.
        mean, std = mean.flatten().repeat(width), std.flatten().repeat(width)
    else:
        mean, std = mean[0], std[0]
    step = max(1, BLOCK // (3 * width))
    for source, target, (image_height, image_width) in zip(pixels, normalized, sizes.tolist(), strict=True):
        for top in range(0, image_height, step):
            rows = slice(top, min(top + step, image_height))
            block, values = target[:, rows], source[:, rows]
            if interleaved:
                block, values = (each.permute(1, 2, 0).reshape(-1, 3 * width) for each in (block, values))
            block.copy_(values).div_(255).sub_(mean).div_(std)
        target[:, image_height:].zero_()
        target[:, :image_height, image_width:].zero_()
    return normalized


def _empty(shape: torch.Size, memory_format: torch.memory_format) -> Tensor:
    """Return a float32 tensor of a shape with undefined values."""
    num_bytes = 4 * shape.numel()
    if num_bytes < HUGE_FROM or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.empty(shape, memory_format=memory_format)
    try:
        memory = mmap.mmap(-1, num_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        memory.madvise(mmap.MADV_HUGEPAGE)
    except OSError:  # without huge pages, or without memory, which torch reports
        return torch.empty(shape, memory_format=memory_format)
    flat = torch.frombuffer(memory, dtype=torch.float32)
    if memory_format == torch.channels_last:
        batch, channels, height, width = shape
        return flat.view(batch, height, width, channels).permute(0, 3, 1, 2)
    return flat.view(shape)
