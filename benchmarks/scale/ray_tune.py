"""What Ray Tune itself takes of the driver's process, with real actors and trainings that only report.

It is what virtual_tune.py leaves out: the loop of Tune's controller, its trials, and the messages of Ray. Configs and
reports are as large as those of trainings; neither searcher nor callback is there.
"""

import logging
import os
from pathlib import Path
from typing import Any, Final

from ray import tune

from orchestration.cluster.connect import ENVIRONMENT
from orchestration.trial.task import TASK
from orchestration.trial.worker import RECORD

# Trainings at once, each an actor that the next one uses again.
SLOTS: Final = 4
REPORTS: Final = 4
# Points of a report with an evaluation, about as many characters as theirs; settings of a training, of an arm too.
RECORD_CHARS: Final = 2000
SETTINGS: Final = 300


def report_points(config: dict[str, Any]) -> None:
    """Report as often as a simulated training does."""
    for _ in range(REPORTS):
        tune.report({RECORD: "x" * RECORD_CHARS})


def run_ray_tune(count: int, folder: Path) -> int:
    """Run so many trainings with Ray on this machine; return how many of them ended."""
    os.environ.update(ENVIRONMENT)
    import ray

    ray.init(
        num_cpus=SLOTS, include_dashboard=False, logging_level=logging.CRITICAL, log_to_driver=False,
        object_store_memory=200 << 20,
    )  # fmt: skip
    try:
        values = {f"section.key_{number}": [number, "value"] for number in range(SETTINGS)}
        results = tune.Tuner(
            tune.with_resources(report_points, {"cpu": 1}),
            param_space={TASK: tune.grid_search([{**values, "index": index} for index in range(count)])},
            tune_config=tune.TuneConfig(
                max_concurrent_trials=SLOTS, reuse_actors=True, trial_dirname_creator=lambda trial: str(trial.trial_id)
            ),
            run_config=tune.RunConfig(name="trials", storage_path=str(folder), verbose=0),
        ).fit()
        return len(results)
    finally:
        ray.shutdown()
