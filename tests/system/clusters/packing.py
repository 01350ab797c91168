"""Trials on a fraction of a GPU that Ray only believes in: python packing.py GPUS FRACTION TRIALS FOLDER.

Prints for each trial the GPU that it was given and when it ran.
"""

import json
import logging
import os
import sys
import time
from pathlib import Path
from typing import Any

from orchestration.cluster.connect import ENVIRONMENT
from orchestration.cluster.resources import Node, demand, max_concurrent
from orchestration.config.schema import ClusterConfig
from orchestration.driver.tune_run import trial_resources

# Seconds that a trial too many would have to begin beside the others.
LINGER = 2.0


def trainable(config: dict[str, Any]) -> None:
    """A trial that ends when so many have begun as fit side by side."""
    import ray

    folder, began = Path(config["folder"]), time.time()
    (folder / f"{config['number']}.begun").touch()
    while len(list(folder.glob("*.begun"))) < config["fit"]:
        time.sleep(0.1)
    time.sleep(LINGER)
    row = {"gpus": ray.get_gpu_ids(), "began": began, "ended": time.time()}
    (folder / f"{config['number']}.json").write_text(json.dumps(row))


def main(gpus: int, fraction: float, trials: int, folder: str) -> None:
    os.environ.update(ENVIRONMENT)
    import ray
    from ray import tune

    cluster = ClusterConfig(device="cuda", gpus_per_worker=fraction)
    nodes = [Node(8, gpus)]
    resources = demand(cluster, nodes)
    ray.init(address="local", num_cpus=8, num_gpus=gpus, include_dashboard=False, logging_level=logging.ERROR)
    concurrent = max_concurrent(nodes, resources, None)
    space = {"folder": folder, "fit": concurrent, "number": tune.grid_search(list(range(trials)))}
    tune.Tuner(
        tune.with_resources(trainable, trial_resources(resources, on_workers=False)),
        param_space=space,
        tune_config=tune.TuneConfig(max_concurrent_trials=concurrent),
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    ).fit()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
