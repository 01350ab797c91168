"""A sweep leaves the checkpoints of its best trainings; another sweep sees that the others are gone."""

from pathlib import Path

import pytest

from tests.helpers.experiments.sweeps import TINY, finished, runs, trials_of

SWEEP = (
    "+experiment=ablation_centerness",
    "experiment.seeds=[0,1]",
    "~experiment.arms.branch",
    "~experiment.paper.branch",
    *TINY,
    "report=false",
)


@pytest.mark.slow(minutes=1)
def test_the_lesser_trainings_make_room_and_are_trained_again_where_they_are_needed(tmp_path: Path) -> None:
    output = finished(tmp_path, *SWEEP, "keep.trained=1")
    assert (
        "keep.trained=1: of 2 trainings ranked by val/AP, highest first, the checkpoints of 1 were removed (" in output
    )
    found = runs(tmp_path)
    best, other = sorted(
        (0, 1),
        key=lambda seed: (
            -max(found[f"{arm} seed {seed}"].data.metrics["val/AP"] for arm in ("none", "from_regression"))
        ),
    )
    assert found[f"none seed {other}"].data.tags["fcos.checkpoint_removed"] == "not among the 1 best by val/AP"
    assert "fcos.checkpoint_removed" not in found[f"none seed {best}"].data.tags
    assert [Path(found[f"none seed {seed}"].data.tags["fcos.checkpoint"]).exists() for seed in (best, other)] == [
        True,
        False,
    ]
    assert len(list(tmp_path.glob("outputs/*/trials/*/checkpoints"))) == 1
    assert len(list(tmp_path.glob("outputs/*/trials/*/evaluation/*/results.json.gz"))) == 4
    # What is finished stays finished.
    assert "starts" not in finished(tmp_path, *SWEEP, "keep.trained=1")
    output = finished(tmp_path, *SWEEP, "name=second", "explain=true")
    assert "no such checkpoint folder" in output
    finished(tmp_path, *SWEEP, "name=second")
    second = runs(tmp_path, "second")
    assert "fcos.reused_from" in second[f"none seed {best}"].data.tags
    assert "fcos.reused_from" not in second[f"none seed {other}"].data.tags
    assert len(trials_of(tmp_path, "second")) == 2
    # What the second took over, the first may no more remove.
    kept = finished(tmp_path, *SWEEP, "experiment.seeds=[0,1,2]", "keep.trained=1")
    if "kept all the same" not in kept:
        assert Path(runs(tmp_path)[f"none seed {best}"].data.tags["fcos.checkpoint"]).exists()
