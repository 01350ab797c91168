"""What only a GPU can show; skipped where there is none."""

from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.build import build_detector, build_train_state
from fcos.config.parse import parse, set_value
from fcos.config.run import Config
from fcos.data.batching import Batching, WorkerShare
from fcos.data.coco import make_dataset
from fcos.data.loader import train_batches
from fcos.data.prepare import prepare
from fcos.device import to_device
from fcos.runtime import LocalRuntime
from fcos.storage.run_folder import ProgressRecord
from fcos.training.step import train_step
from fcos.training_run import run

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_a_training_step_never_waits_for_the_gpu(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    config = parse(Config, set_value(tiny_values, "schedule.precision", "bf16"))
    device = torch.device("cuda")
    data = prepare(config.data)
    detector = build_detector(config.model, len(data.classes), channels_last=True)
    state = build_train_state(config, detector, LocalRuntime(tmp_path, device))
    dataset = make_dataset(data, "train", config.data, training=True, seed=0)
    batches = train_batches(
        dataset, Batching(8, 64), WorkerShare(), seed=0, start_step=0, num_workers=0, pin_memory=True
    )
    ready = [[to_device(batch, device) for batch in next(batches)] for _ in range(3)]
    # Kernels are chosen, and the locations cached, in the first steps.
    for step in ready[:2]:
        train_step(state, step)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        terms = train_step(state, ready[2])
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert terms.isfinite().all()


def test_a_run_on_the_gpu_ends_near_the_one_on_the_cpu(tiny_values: dict[str, Any], tmp_path: Path) -> None:
    config = parse(Config, tiny_values)
    losses: dict[str, list[float]] = {}
    for name in ("cpu", "cuda"):
        points: list[float] = []

        def listen(record: ProgressRecord, points: list[float] = points) -> None:
            points += [value for _, key, _, value in record.points if key == "train/loss"]

        run(config, LocalRuntime(tmp_path / name, torch.device(name), listen))
        losses[name] = points
    assert losses["cuda"] == pytest.approx(losses["cpu"], rel=0.05)
