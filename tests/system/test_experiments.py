"""Every experiment, planned as its command plans it, trains two steps of each of its arms and is evaluated."""

from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from fcos.config.parse import with_keys
from fcos.config.run import Config
from fcos.storage.run_folder import RunSummary
from orchestration.config.compose import compose
from orchestration.config.groups import groups
from orchestration.config.overrides import check_overrides
from orchestration.experiment.data import prepare_data
from orchestration.experiment.trials import Trial
from orchestration.planning.make_plan import make_plan
from orchestration.planning.plan import Plan
from orchestration.trial.files import read_summary
from orchestration.trial.task import MicroBatching
from tests.helpers.experiments.tasks import task_in, train_task, train_task_apart

# Small drawn images stand for the data, whichever an experiment asks for.
TINY = (
    "data.synthetic.image_size=128",
    "data.synthetic.train_images=32",
    "data.synthetic.val_images=4",
    "data.cache_dir=cache",
    "search=random",
    # What has hardly been trained finds nothing otherwise, and some analyses are of what is found.
    "model.postprocess.score_threshold=0.001",
)
# Of scores above 0.5, which two steps do not lead to.
UNHEARD = {"val/score_iou/overconfident"}
# Of squares, which orientation cannot group.
SQUARE = {"ablation_batching": ("~experiment.arms.orientations_mixed",)}


def shortened(config: Config) -> Config:
    """Two steps of as few images as there can be, from random weights; all else as the experiment has it."""
    schedule = config.schedule
    keys = {
        "schedule.steps": 2,
        "schedule.batch_size": max(2, schedule.accumulate),
        "schedule.warmup_steps": min(1, schedule.warmup_steps),
        "schedule.milestones": [1] if schedule.milestones else [],
        "schedule.eval_every": None,
        "schedule.log_every": 1,
        "data.limit_train": 24,
        "model.backbone.weights": None,
    }
    return with_keys(config, keys)


def train_here(plan: Plan, trial: Trial) -> RunSummary:
    """Train as a Tune trial does, without Ray."""
    folder = plan.folder_of(trial)
    folder.mkdir(parents=True)
    config = shortened(trial.config)
    task = task_in(
        folder,
        identity=trial.identity,
        config=config.model_dump(mode="json"),
        arms={arm: settings.model_dump(mode="json") for arm, settings in trial.arms.items()},
        provenance=plan.provenance,
        data_digest=prepare_data(config, Console(quiet=True), 1).digest,
        micro_batching=MicroBatching.of(config),
        max_failures=0,
    )
    (train_task_apart if config.schedule.compile else train_task)(task)
    summary = read_summary(folder, trial.identity, trial.arms)
    assert summary is not None
    return summary


@pytest.mark.slow(minutes=0.1)
@pytest.mark.parametrize("name", groups()["experiment"])
def test_every_arm_trains_two_steps(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    overrides = [f"+experiment={name}", "experiment.seeds=[0]", *TINY, *SQUARE.get(name, ())]
    lab = compose(check_overrides(overrides))
    assert lab.experiment is not None
    plan = make_plan(lab, partial(prepare_data, console=Console(quiet=True), workers=1))
    assert {arm for trial in plan.trials for arm in trial.arms} >= set(lab.experiment.arms)
    for trial in plan.trials:
        summary = train_here(plan, trial)
        assert set(summary.metrics) == set(trial.arms)
        wanted = {metric for metric in lab.experiment.metrics if metric.startswith(("val/", "coverage/"))} - UNHEARD
        assert all(wanted <= set(metrics) for metrics in summary.metrics.values())
