"""Sweeps as their commands record them, several of them and searches too, are published and verified."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from analysis import verify
from fcos.config.parse import with_keys
from fcos.storage.store_conventions import default_uri
from orchestration.experiment.trials import plan_trials
from orchestration.planning.plan import update_plan
from orchestration.search.points import SampledPoint
from tests.helpers.experiments.published import publish_sweep, repack, unpack
from tests.helpers.recorded import DIGEST, finish, record_ablation, record_sweep, recording

RATE = "schedule.lr_per_16_images"
# A point that the search draws, its seed and its AP.
Drawn = tuple[str, int, float]


RACE = ("experiment.seeds=[0,1]", "search.confirm_seeds=1")


def search(folder: Path, drawn: Sequence[Drawn], *, ends: bool = True, race: Sequence[str] = RACE) -> None:
    """Record a command of a TPE search that draws some points."""
    words = (
        "+experiment=search_fcos",
        "search=tpe",
        "experiment.search.trials=6",
        "data.cache_dir=here/drawn_cache",
        *race,
    )
    with recording(folder, *words, "name=searched") as (plan, recorder):
        assert plan.search is not None and isinstance(plan.arms, dict)
        for number, (name, seed, value) in enumerate(drawn):
            keys = {RATE: 0.01 + 0.001 * number}
            if name not in plan.arms:
                plan.search.drawn[name] = SampledPoint(point=dict(keys), keys=keys)
                plan.arms[name] = with_keys(plan.search.base, keys)
            (trial,) = plan_trials({name: plan.arms[name]}, (seed,), plan.provenance, {name: DIGEST})
            plan.grow(name, plan.arms[name], trial)
            update_plan(plan)
            finish(plan, recorder, trial, value)
        if ends:
            recorder.close_sweep(0, 0, (1,) if race else (), "t000" if race else None)
        else:
            # As Ctrl-C ends it.
            recorder.record_plan()


POINTS: Sequence[Drawn] = [
    *(("t000", 0, 0.42), ("t001", 0, 0.40), ("t000", 1, 0.41)),
    *(("t000", 2, 0.43), ("base", 2, 0.38)),
]


def check_verifies(file: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Verify an archive of made-up trainings: all belongs together, and there are no detections to evaluate.

    Returns what is printed.
    """
    capsys.readouterr()
    code, output = verify.main([str(file)]), capsys.readouterr().out
    assert code == 1 and "DIFFERS" not in output and "refused" not in output, output
    assert re.search(r"^holds +intact, and not recomputed: without detections", output.splitlines()[-1])
    return output


def test_a_sweep_of_several_commands_verifies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The last of them plans other seeds, of which one is finished, and less than the others did."""
    for seeds in ("[0,1,2]", "[3,4]", "[0]"):
        record_ablation(tmp_path, "recorded", seeds)
    file = publish_sweep(default_uri(tmp_path), "recorded", tmp_path / "recorded.zip")
    check_verifies(file, capsys)
    published = unpack(file, tmp_path / "out")
    assert len(list((published / "trials").iterdir())) == 15
    # The key of the sweep's folder stays there.
    assert "key" in json.loads((tmp_path / "recorded" / "plan.json").read_text())
    assert "key" not in json.loads((published / "sweep" / "plan.json").read_text())


@pytest.mark.parametrize(
    "words",
    [
        # The seed 0 of all arms is one training.
        ("+experiment=noise_floor", "experiment.seeds=[0,1]", "experiment.metrics=[val/AP]"),
        ("+experiment=factorial_centerness_sampling", "experiment.seeds=[0,1]"),
        (
            "+experiment=ablation_centerness",
            "experiment.until=decided",
            "experiment.seeds=[0,1]",
            "experiment.most_seeds=3",
        ),
    ],
    ids=["noise floor", "factors", "until it is decided"],
)
def test_a_sweep_of_any_kind_verifies_with_its_looks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: Sequence[str]
) -> None:
    plan = record_sweep(tmp_path, *words, "name=recorded")
    file = publish_sweep(default_uri(tmp_path), "recorded", tmp_path / "recorded.zip")
    # They are those of the plan.
    assert "at which decisions were taken" not in check_verifies(file, capsys)
    published = json.loads((unpack(file, tmp_path / "out") / "sweep" / "plan.json").read_text())
    assert published["looks"] and published["seeds"] == sorted({trial.seed for trial in plan.trials})


@pytest.mark.slow(minutes=1)
def test_a_search_that_draws_as_it_goes_verifies_interrupted_and_after_its_last_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for drawn, ends in ((POINTS[:2], False), (POINTS[2:], True)):
        search(tmp_path, drawn, ends=ends)
        file = publish_sweep(default_uri(tmp_path), "searched", tmp_path / "searched.zip")
        check_verifies(file, capsys)


@pytest.fixture
def started_as(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Lets a command be started by another program."""
    return lambda program: monkeypatch.setattr(sys, "argv", [program])


def test_an_archive_of_a_search_is_the_same_however_the_commands_are_started(
    tmp_path: Path, started_as: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    search(tmp_path, POINTS[:2], race=())
    archives: list[bytes] = []
    for program in ("analysis/publish.py", ".venv/bin/fcos-publish"):
        started_as(program)
        file = publish_sweep(default_uri(tmp_path), "searched", tmp_path / f"{len(archives)}.zip")
        archives.append(file.read_bytes())
        assert b"fcos-sweep " in archives[-1]
        # As it was typed, which is no location of a configuration.
        assert b"data.cache_dir=<data.cache_dir>" in archives[-1] and b"drawn_cache" not in archives[-1]
    assert archives[0] == archives[1]
    started_as(".venv/bin/fcos-verify")
    check_verifies(file, capsys)


def test_settings_of_a_point_that_are_not_those_of_its_training_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """experiment.json has no point that was drawn after its command began."""
    search(tmp_path, POINTS[:1], race=())
    file = publish_sweep(default_uri(tmp_path), "searched", tmp_path / "searched.zip")
    folder = unpack(file, tmp_path / "out")
    (path,) = (folder / "trials").glob("*/run.json")
    run = json.loads(path.read_text())
    run["tags"]["fcos.drawn"] = json.dumps({RATE: 0.5})
    path.write_text(json.dumps(run))
    capsys.readouterr()
    assert verify.main([str(repack(file, folder, tmp_path / "forged.zip"))]) == 1
    problem = f"t000 seed 0: {RATE} is 0.5 for this arm in the tag fcos.drawn, and '0.01' in its run"
    assert re.search(rf"^DIFFERS +{re.escape(problem)}$", capsys.readouterr().out, re.M)
