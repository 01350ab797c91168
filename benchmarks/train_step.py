"""A whole training step against torchvision's FCOS R50: python benchmarks/train_step.py [--device cuda] [--compile]

With --embedded the step of the embedded training instead, our own in bf16 against our own in float32.

Forward, losses, backward and SGD from the same weights. On one CPU core: 2 images of 512x512, both in float32; with
--precision bf16 ours under bf16 autocast with the channels last, for processors with bf16 instructions. On a GPU: 16
of 800x1333, both under bf16 autocast, by the clock, and which part of the measured matmul rate is reached. Losses
must be equal to 1e-4 (bf16: 2e-2), and so must what the step adds to the weights (float32 only: 1 % of its length).
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import side_by_side
import torch
import yaml
from detectors import MODEL, build_pair, draw_batch, model_config
from inputs import draw_targets
from side_by_side import Case, require
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from fcos.build import build_detector, build_train_state
from fcos.config.choices import Precision
from fcos.config.parse import parse
from fcos.config.run import Config, DataConfig, ScheduleConfig
from fcos.device import autocast, to_device
from fcos.runtime import LocalRuntime
from fcos.training.step import train_step
from fcos.weights.torchvision import from_torchvision

LR, MOMENTUM, DECAY = 1e-5, 0.9, 1e-4
Outcome = tuple[Tensor, dict[str, Tensor]]


def settings(batch: int, precision: Precision, compiled: bool, channels_last: bool) -> Config:
    """Return model=torchvision, with SGD as the peer's."""
    schedule = ScheduleConfig(
        batch_size=batch, steps=1000, optimizer="sgd", lr=LR, momentum=MOMENTUM, weight_decay=DECAY, decay="none",
        precision=precision, channels_last=channels_last, compile=compiled, deterministic=False,
    )  # fmt: skip
    data = DataConfig.model_validate({"name": "synthetic", "synthetic": {}})
    return Config(model=model_config(), data=data, schedule=schedule)


def compare(theirs: Outcome, ours: Outcome, start: Mapping[str, Tensor], precision: Precision) -> str:
    """Require equal losses and steps from the weights `start`; return how equal the losses are."""
    tolerance = 1e-4 if precision == "fp32" else 2e-2
    apart = float(((theirs[0] - ours[0]) / theirs[0]).abs().max())
    require(apart <= tolerance, f"losses {theirs[0].tolist()} and {ours[0].tolist()}")
    if precision == "fp32":
        moved = {key: value - start[key] for key, value in theirs[1].items()}
        missed = sum(float((ours[1][key] - start[key] - step).square().sum()) for key, step in moved.items())
        length = sum(float(step.square().sum()) for step in moved.values())
        require(missed <= 1e-4 * length, f"steps are apart by {(missed / length) ** 0.5:.1e} of their length")
    return f"losses equal to {apart:.0e}"


def case(
    batch: int, size: tuple[int, int], device: torch.device, precision: Precision, compiled: bool, goal: float | None
) -> Case:
    """Return the case of one step of both; each call goes on from the weights that the last one left."""
    # On a CPU with AVX2 the backward convolutions in float32 are slower with the channels last.
    channels_last = device.type == "cuda" or precision == "bf16"
    peer_precision: Precision = "fp32" if device.type == "cpu" else precision
    peer, detector = build_pair(size, channels_last=channels_last, device=device)
    images, targets, host = draw_batch(batch, size, draw_targets(7, batch, size), device)
    config = settings(batch, precision, compiled, channels_last)
    state = build_train_state(config, detector, LocalRuntime(Path(), device))
    trained = [parameter for parameter in peer.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=LR, momentum=MOMENTUM, weight_decay=DECAY)
    start = {key: value.clone() for key, value in detector.state_dict().items()}
    peer.train()

    def run_peer() -> Outcome:
        optimizer.zero_grad()
        with autocast(device, peer_precision):
            losses = peer(images, targets)
        sum(losses.values()).backward()
        optimizer.step()
        return torch.stack([value.detach().float() for value in losses.values()]), from_torchvision(peer.state_dict())

    def run_ours() -> Outcome:
        terms = train_step(state, [to_device(host, device)])
        return terms[1:4], detector.state_dict()

    same = partial(compare, start=start, precision=precision)
    text = f"training step, R50 {batch}x{size[0]}x{size[1]}, {precision} on {device.type}"
    if precision != peer_precision:
        text += f" against {peer_precision}"
    return Case(text + (", compiled" if compiled else ""), run_peer, run_ours, same, images=batch, goal=goal)


def embedded_case() -> Case:
    """Return the case of a step of model=fcos_small with 8 images of 128x128, as `schedule=brief` trains it."""
    size = (128, 128)
    values: dict[str, Any] = {
        group: yaml.safe_load((MODEL.parents[1] / group / f"{option}.yaml").read_text())
        for group, option in (("model", "fcos_small"), ("schedule", "embedded"), ("data", "synthetic"))
    }
    host = draw_batch(8, size, draw_targets(3, 8, size), torch.device("cpu"))[2]
    host.targets.labels.remainder_(5)
    starts: list[dict[str, Tensor]] = []

    def runner(precision: Precision) -> Callable[[], Outcome]:
        values["schedule"] |= {"precision": precision, "clip_norm": 1}
        config = parse(Config, values)
        torch.manual_seed(0)
        detector = build_detector(config.model, 5, channels_last=True)
        starts.append({key: value.clone() for key, value in detector.state_dict().items()})
        state = build_train_state(config, detector, LocalRuntime(Path(), torch.device("cpu")))
        return lambda: (train_step(state, [host])[1:4], detector.state_dict())

    peer, ours = runner("fp32"), runner("bf16")
    same = partial(compare, start=starts[0], precision="bf16")
    text = "training step, embedded 8x128x128, bf16 against fp32"
    return Case(text, peer, ours, same, peer_name="our own in fp32", images=8, goal=2.0)


def matmul_rate(device: torch.device) -> float:
    """Measure FLOP/s of a large bf16 product."""
    side = 8192
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    times = [side_by_side.seconds_of(lambda: a @ b) for _ in range(20)]
    return 2.0 * side**3 / sorted(times)[10]


def flops_per_image(size: tuple[int, int]) -> float:
    """Count multiplications and additions of forward and backward, without computing anything."""
    with torch.device("meta"):
        _, detector = build_pair(size, channels_last=True, device=torch.device("meta"))
    pixels = torch.zeros(1, 3, *size, dtype=torch.uint8, device="meta")
    with FlopCounterMode(display=False) as counter:
        outputs = detector.train()(pixels, torch.tensor([size], device="meta"))
        (outputs.joined_logits.sum() + outputs.ltrb.sum()).backward()
    return float(counter.get_total_flops())


def main() -> None:
    """Measure on the device of the command line."""
    parser = side_by_side.parser(__doc__ or "")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--precision", choices=["fp32", "bf16"], help="ours on a CPU; fp32 if not given")
    parser.add_argument("--embedded", action="store_true", help="the embedded model in bf16 against float32, on a CPU")
    parser.add_argument("--compile", action="store_true", help="ours with schedule.compile=true")
    options = parser.parse_args()
    if options.device == "cpu":
        side_by_side.use_one_core()
        side_by_side.run(options, on_cpu(options))
        return
    if options.precision is not None:
        sys.exit(f"--precision {options.precision}: is for a CPU; --device cuda measures both in bf16")
    if not torch.cuda.is_available():
        sys.exit("--device cuda: no CUDA device is present here; leave it out to measure on one CPU core")
    on_gpu(options)


def on_cpu(options: argparse.Namespace) -> Iterator[Case]:
    """Yield the cases of one step that fits a core."""
    if options.embedded:
        yield embedded_case()
        return
    yield case(2, (512, 512), torch.device("cpu"), options.precision or "fp32", options.compile, goal=2.2)


def on_gpu(options: argparse.Namespace) -> None:
    """Measure the papers' batch, and how much of the GPU it uses."""
    device = torch.device("cuda")
    # 1333 is padded to the next multiple of 32 by both.
    size = (800, 1344)
    torch.backends.cudnn.benchmark = True
    rate = matmul_rate(device)
    needed = flops_per_image(size)
    for result in side_by_side.run(options, [case(16, size, device, "bf16", options.compile, goal=None)]):
        for name, seconds in ((result.peer_name, result.peer_seconds), ("ours", result.ours_seconds)):
            speed = 16 / seconds
            print(
                f"{name}: {speed:.1f} images/s, {speed * needed / 1e12:.0f} TFLOP/s, "
                f"{speed * needed / rate:.0%} of the measured matmul rate of {rate / 1e12:.0f} TFLOP/s"
            )


if __name__ == "__main__":
    main()
