"""What a command says that it will do."""

from pathlib import Path

from orchestration.driver.progress import SweepProgress
from orchestration.planning.reuse import ReusableRuns
from orchestration.planning.table import plan_table
from orchestration.trial.files import write_summary
from tests.helpers.experiments.composed import plan_of
from tests.helpers.experiments.summaries import summary_of


def test_trainings_are_listed_with_their_steps(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "+experiment=ablation_centerness", "experiment.seeds=[0]", "schedule.steps=600")
    title, header, rows = plan_table(plan, ReusableRuns(None))
    assert title == "ablation_centerness: 2 trainings, 3 results"
    assert header == ("training", "seed", "arms", "steps", "identity", "state")
    assert [(row[2], row[3], row[5]) for row in rows] == [
        ("none, from_regression", "600", "new"),
        ("branch", "600", "new"),
    ]


def test_runs_without_training_have_neither_steps_nor_seeds(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "+experiment=table2_ambiguity")
    write = plan.trials[1]
    plan.folder_of(write).mkdir(parents=True)
    write_summary(plan.folder_of(write), write.identity, summary_of({arm: {} for arm in write.arms}, step=5000))
    title, header, rows = plan_table(plan, ReusableRuns(None))
    assert title == "table2_ambiguity: 9 runs without training"
    assert header == ("run", "arms", "identity", "state")
    assert [(row[1], row[3]) for row in rows[:2]] == [("v1_no_sampling_no_fpn", "new"), ("v1_no_sampling_fpn", "done")]
    progress = SweepProgress.of(plan)
    assert [(row.label, row.unit, row.total_steps) for row in progress.trials[:2]] == [
        ("v1_no_sampling_no_fpn", "image", 0),
        ("v1_no_sampling_fpn", "image", 5000),
    ]
