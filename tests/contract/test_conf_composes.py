"""Every option of every group composes into a valid configuration, every experiment into a plan."""

import re
from copy import deepcopy
from dataclasses import astuple
from functools import cache
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from analysis.papers.rows import get_row, group_rows_by_source
from fcos.config.parse import flatten, parse
from fcos.config.run import Config
from fcos.installation import ROOT
from fcos.storage.store_conventions import RUN_ONLY
from orchestration.config.compose import compose
from orchestration.config.conf_files import CONF
from orchestration.config.groups import expand_presets, groups
from orchestration.config.overrides import check_overrides, dotted_keys
from orchestration.config.search import flat_space
from orchestration.experiment.config_checks import check_metrics
from orchestration.experiment.provenance import Provenance
from orchestration.experiment.trials import arm_configs, check_effect, plan_trials
from orchestration.planning.make_plan import make_plan, set_keys

OPTIONS = [f"{group}={option}" for group, options in groups().items() if group != "experiment" for option in options]


# What is chosen for a folder follows from its content: tests/unit/orchestration/config/test_auto.py.
@pytest.mark.parametrize("choice", [choice for choice in OPTIONS if choice != "data=auto"])
def test_every_option_composes(choice: str) -> None:
    group, option = choice.split("=")
    values = OmegaConf.load(CONF / group / f"{option}.yaml")
    # Only coverage does without the folder of images, which is null there.
    missing = OmegaConf.missing_keys(values) | ({"root"} if "root" in values else set())
    # How a search proceeds says nothing without one.
    needs = ["+experiment=search_fcos"] if group == "search" else []
    lab = compose(check_overrides([choice, *needs, *(f"{group}.{key}=http://given" for key in missing)]))
    assert parse(type(lab), lab.model_dump()) == lab


SEARCHES = [name for name in groups()["experiment"] if name.startswith("search_")]
ABLATIONS = [name for name in groups()["experiment"] if name not in SEARCHES]
MOST_KEYS = 116


def header(name: str) -> list[str]:
    """The comment lines that an experiment begins with, without their marks."""
    lines = (CONF / "experiment" / f"{name}.yaml").read_text().splitlines()[1:]
    return [line.removeprefix("#").strip() for line in takewhile(lambda line: line.startswith("#"), lines)]


def commands(name: str) -> list[list[str]]:
    """The overrides of the commands in an experiment's header, whatever stands for a path."""
    first = header(name)[0].split()[2:]
    papers = [line.split()[3:] for line in header(name) if line.startswith("As the paper:")]
    given = [first, *([*first, *more] for more in papers)]
    return [[re.sub("<.*>", "given", word) for word in words] for words in given]


def cost_of(name: str) -> str:
    return next(line for line in header(name) if line.startswith("Cost")).removeprefix("Cost").strip()


@cache
def _loaded(name: str) -> dict[str, Any]:
    values = OmegaConf.to_container(OmegaConf.load(CONF / "experiment" / f"{name}.yaml"))
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def raw(name: str) -> dict[str, Any]:
    """An experiment's file as it is."""
    return deepcopy(_loaded(name))


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("how", ["random", "tpe_asha"])
def test_every_search_composes_into_a_plan(name: str, how: str, tmp_path: Path) -> None:
    several = raw(name)["experiment"]["search"].get("objectives", ())
    # A training that is worse in one objective is not stopped.
    how = "tpe" if several and how == "tpe_asha" else how
    lab = compose(check_overrides([f"+experiment={name}", f"search={how}", f"output={tmp_path}"]))
    assert lab.experiment is not None and lab.experiment.search is not None
    plan = make_plan(lab, lambda config: ("d", ()))
    # With several seeds a point is drawn when the one before it has had its own.
    is_known = how == "random" and len(lab.experiment.seeds) == 1
    assert len(plan.trials) == (lab.experiment.search.trials if is_known else 0)
    assert plan.notes == ()


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_experiment_composes_and_each_arm_is_live(name: str) -> None:
    for overrides in commands(name):
        lab = compose(check_overrides(overrides))
        assert lab.experiment is not None
        assert lab.experiment.name == name
        configs = arm_configs(lab.training, lab.experiment)
        check_effect(set_keys(overrides), list(configs.values()))
        check_metrics(lab.experiment.metrics, configs.values())
        trials = plan_trials(configs, lab.experiment.seeds, Provenance("c", {}), dict.fromkeys(configs, "d"))
        assert sum(len(trial.arms) for trial in trials) == len(configs) * len(lab.experiment.seeds)
        cost = cost_of(name)
        if cost[0].isdigit():
            assert int(cost.split()[0]) == len(trials)
        for rows in lab.experiment.paper.values():
            assert all(get_row(row_id).id == row_id for row_id in rows)


def test_every_line_of_an_experiment_changes_something() -> None:
    """A line of an experiment that says what the base says already would mislead its reader."""
    bases: dict[tuple[str, ...], dict[str, Any]] = {}
    for name in groups()["experiment"]:
        values = raw(name)
        chosen = tuple(
            f"{key.split('/')[1]}={option}" for each in values.get("defaults", ()) for key, option in each.items()
        )
        if chosen not in bases:
            bases[chosen] = flatten(compose(check_overrides(chosen)).model_dump(mode="json"))
        base = bases[chosen]
        given = flatten({key: value for key, value in values.items() if key not in ("experiment", "defaults")})
        assert [key for key, value in given.items() if key in base and base[key] == value] == [], name


# Which data there is, how it is read, what published weights were trained with, and what makes no difference.
NO_QUESTION = (
    *("task", "seed", "data.name", "data.root", "data.train", "data.val", "data.synthetic", "data.on_bad_image"),
    *("data.limit_val", "data.crowds", "data.exif_orientation", "data.max_megapixels"),
    *("coverage.split", "coverage.rounding", *RUN_ONLY),
    *("model.pixel_mean", "model.pixel_std", "model.backbone.stride_in_1x1"),
    *("model.weights", "model.weights_sha256", "model.backbone.weights_sha256"),
)


def test_every_key_of_the_schema_is_the_question_of_an_experiment() -> None:
    """A setting that no experiment varies is one that nobody would miss; so is one more than is needed."""
    varied: set[str] = set()
    for name in groups()["experiment"]:
        values = raw(name)
        experiment = values.pop("experiment")
        varied |= set(flatten(values))
        varied |= {key for changes in expand_presets(experiment.get("arms", {})).values() for key in changes}
        for levels in experiment.get("factors", {}).values():
            varied |= {key for changes in expand_presets(levels).values() for key in changes}
        varied |= set(flat_space(experiment.get("search", {}).get("space", {})))
    keys = [key for key in dotted_keys(Config) if not f"{key}.".startswith(tuple(f"{each}." for each in NO_QUESTION))]
    assert [key for key in keys if key not in varied] == []
    # Counted, so that one more is a decision.
    assert len(keys) <= MOST_KEYS


EFFECTS = [name for name in groups()["experiment"] if raw(name)["experiment"].get("effect") is not None]


@pytest.mark.parametrize("name", EFFECTS)
def test_the_effect_of_a_claim_is_a_difference_of_the_papers(name: str) -> None:
    experiment = raw(name)["experiment"]
    rows, _ = group_rows_by_source(experiment["paper"])
    metric, base = experiment["metrics"][0], rows[experiment["baseline"]]
    differences = {
        round(100 * abs(row.metrics[metric] - base[source].metrics[metric]), 2)
        for of_arm in rows.values()
        for source, row in of_arm.items()
        if source in base and metric in row.metrics
    }
    assert experiment["effect"] in differences


@pytest.mark.parametrize("name", groups()["experiment"])
def test_every_experiment_names_its_command_claim_and_cost(name: str) -> None:
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    assert text.startswith("# @package _global_\n")
    for words in (f"# python orchestration/sweep.py +experiment={name}", "# Claim", "# Papers", "# Cost"):
        assert words in text


def test_the_document_of_experiments_has_them_all() -> None:
    text = (ROOT / "docs" / "experiments.md").read_text()
    assert [name for name in groups()["experiment"] if f"`{name}`" not in text] == []


def test_noise_floor_trains_equal_seeds_once() -> None:
    lab = compose(check_overrides(["+experiment=noise_floor", "experiment.seeds=[0,4]"]))
    assert lab.experiment is not None
    configs = arm_configs(lab.training, lab.experiment)
    trials = plan_trials(configs, lab.experiment.seeds, Provenance("c", {}), dict.fromkeys(configs, "d"))
    assert [(trial.seed, list(trial.arms)) for trial in trials] == [
        (0, ["all", "weights", "order", "augmentation"]),
        *((4, [arm]) for arm in ("all", "weights", "order", "augmentation")),
    ]
    assert [astuple(trial.config.resolved_seeds) for trial in trials[1:]] == [
        (4, 4, 4),
        (4, 0, 0),
        (0, 4, 0),
        (0, 0, 4),
    ]


def test_ablation_centerness_trains_six_times_for_nine_results() -> None:
    lab = compose(check_overrides(["+experiment=ablation_centerness"]))
    assert lab.experiment is not None
    configs = arm_configs(lab.training, lab.experiment)
    trials = plan_trials(configs, lab.experiment.seeds, Provenance("c", {}), dict.fromkeys(configs, "d"))
    assert len(trials) == 6
    assert sum(len(trial.arms) for trial in trials) == 9
