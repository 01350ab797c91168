"""One worker of a gloo group, as a process of its own: python gloo_worker.py RANK WORLD_SIZE FOLDER.

The folder holds the configuration (config.json) and takes summary, loss curve and reported steps (worker_<rank>.json).
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from fcos import training_run
from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.coverage import run as coverage
from fcos.runtime import LocalRuntime
from fcos.storage.run_folder import ProgressRecord


class GlooRuntime(LocalRuntime):
    """A worker whose gradients are averaged over the group."""

    def wrap(self, model: nn.Module) -> nn.Module:
        return DistributedDataParallel(model.to(self.device))


def main(rank: int, world_size: int, folder: Path) -> None:
    torch.set_num_threads(1)
    # A file, as a free port may be taken before it is used.
    meeting = f"file://{(folder / 'meeting').resolve()}"
    dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=world_size)
    curve: list[tuple[int, float]] = []
    steps: list[int] = []

    def listen(record: ProgressRecord) -> None:
        curve.extend((step, value) for _, key, step, value in record.points if key == "train/loss")
        steps.append(record.step)

    config = parse(Config, json.loads((folder / "config.json").read_text()))
    run = coverage.run if config.task == "coverage" else training_run.run
    summary = run(config, GlooRuntime(folder, torch.device("cpu"), listen, rank=rank, world_size=world_size))
    (folder / f"worker_{rank}.json").write_text(json.dumps([summary.model_dump(mode="json"), curve, steps]))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
