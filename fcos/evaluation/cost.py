"""What a detector costs for an image: parameters, multiply-adds, latency (analysis `cost`)."""

from dataclasses import dataclass, field
from statistics import median

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fcos.structures import Batch


@dataclass
class CostLog:
    """Latencies of a validation pass by post-processing, and the (height, width) of its first batch."""

    # Seconds of each image, a value for each batch.
    seconds: dict[str, list[float]] = field(default_factory=dict)
    canvas: tuple[int, int] | None = None

    def add(self, name: str, batch: Batch, seconds: float) -> None:
        """Add the time that a batch took, from its arrival on the device to detections on the CPU."""
        self.canvas = self.canvas or (batch.pixels.shape[-2], batch.pixels.shape[-1])
        self.seconds.setdefault(name, []).append(seconds / len(batch.image_ids))

    def metrics(self, name: str, model: nn.Module, device: torch.device) -> dict[str, float]:
        """Return the metrics val/cost/<number>; empty for a post-processing that was not timed.

        The latency is the median over batches; the first is left out where there are others, as kernels are chosen and
        memory is allocated in it. Multiply-adds are those of one image with the size of the first batch.
        """
        if name not in self.seconds or self.canvas is None:
            return {}
        seconds = self.seconds[name][1:] or self.seconds[name]
        return {
            "val/cost/latency_ms": 1000 * median(seconds),
            "val/cost/multiply_adds": float(count_multiply_adds(model, self.canvas, device)),
            "val/cost/parameters": float(sum(parameter.numel() for parameter in model.parameters())),
        }


@torch.no_grad()
def count_multiply_adds(model: nn.Module, canvas: tuple[int, int], device: torch.device) -> int:
    """Return the multiply-adds of convolutions and matrix products for one image, without post-processing.

    Deformable convolutions are not among the operations that torch counts. canvas: (height, width) in pixels.
    """
    was_training = model.training
    model.eval()
    # Two images: of one the highest level may be too small for torch's group norm.
    pixels = torch.zeros((2, 3, *canvas), dtype=torch.uint8, device=device)
    with FlopCounterMode(display=False) as counter:
        model(pixels, torch.tensor([canvas, canvas], device=device))
    model.train(was_training)
    # Two operations for each multiply-add, and two images.
    return int(counter.get_total_flops()) // 4
