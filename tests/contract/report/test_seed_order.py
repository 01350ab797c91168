"""A report counts the seeds of a sweep in the order by which its driver decided, whenever their runs were recorded."""

from pathlib import Path

from analysis.reader.runs import read_sweep
from analysis.stats.comparison import compare_arms, make_design
from analysis.stats.paired import collect_final_values
from analysis.stats.verdicts import classify
from fcos.storage.run_folder import MetricPoint
from fcos.storage.store_conventions import default_uri
from orchestration.driver.recorder import RunRecorder
from orchestration.experiment.trials import Trial
from orchestration.planning.plan import Plan, add_looks
from orchestration.planning.seed_rounds import SeedRounds
from orchestration.trial import files
from tests.helpers.experiments.seed_rounds import EXPERIMENT, WORDS
from tests.helpers.experiments.summaries import summary_of
from tests.helpers.recorded import recording

# What branch adds in each seed: at the look at six seeds it is better in all of them, with the last one it is not.
GAINS = (0.05, 0.06, 0.055, 0.052, 0.058, 0.061, -0.001)


def value_of(arm: str, seed: int) -> float:
    gain = {"none": 0.0, "from_regression": 0.02 * (1 + 0.1 * (seed % 3)), "branch": GAINS[seed]}[arm]
    return 0.3 + 0.01 * (seed % 4) + gain


def record(plan: Plan, recorder: RunRecorder, trial: Trial) -> None:
    folder = plan.folder_of(trial)
    folder.mkdir(parents=True)
    recorder.start(trial)
    values = {arm: {"val/AP": value_of(arm, trial.seed)} for arm in trial.arms}
    files.append_points(folder, [MetricPoint(arm, "val/AP", 4, of_arm["val/AP"]) for arm, of_arm in values.items()])
    summary = summary_of(values)
    files.write_summary(folder, trial.identity, summary)
    recorder.finish(trial, summary)


def test_results_that_are_recorded_last_do_not_change_a_verdict(tmp_path: Path) -> None:
    """Seeds 0 to 2 were taken over from another sweep: their runs are recorded after all trainings."""
    with recording(tmp_path, EXPERIMENT, *WORDS, "experiment.most_seeds=7") as (plan, recorder):
        for trial in sorted(plan.trials, key=lambda trial: (trial.seed < 3, trial.seed)):
            record(plan, recorder, trial)
        rounds = SeedRounds.of(plan, recorder.experiment)
        assert rounds is not None
        needed = rounds.needed()
        recorder.close_sweep(0, 0, add_looks(plan, needed.looks))
    assert (needed.looks, needed.complete, needed.outcomes["branch"]) == ((3, 4, 5, 6, 7), True, "higher")
    sweep = read_sweep(default_uri(tmp_path), "ablation_centerness")
    starts = {trial.seed: trial.started for trial in sweep.current}
    assert min(starts[seed] for seed in range(3)) > max(starts[seed] for seed in range(3, 7))
    assert sweep.seeds == tuple(range(7))
    arms = list(sweep.experiment.arms)
    values = collect_final_values(sweep.current, sweep.points, ["val/AP"], arms, sweep.seeds)
    comparisons = compare_arms(values, make_design(sweep, "none"))
    assert {each.arm: classify(each) for each in comparisons} == dict(needed.outcomes)
