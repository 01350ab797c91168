"""Every option of every group composes into a valid configuration, every experiment into a plan."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from fcos.parsing import flatten, parse
from orchestration.command_line import check_overrides
from orchestration.config import compose
from orchestration.experiment import arm_configs, plan
from orchestration.groups import CONF, groups
from orchestration.identity import Evidence
from orchestration.planning import make_plan

OPTIONS = [f"{group}={option}" for group, options in groups().items() if group != "experiment" for option in options]


@pytest.mark.parametrize("choice", OPTIONS)
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


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("how", ["random", "tpe_asha"])
def test_every_search_composes_into_a_plan(name: str, how: str, tmp_path: Path) -> None:
    lab = compose(check_overrides([f"+experiment={name}", f"search={how}", f"output={tmp_path}"]))
    assert lab.experiment is not None and lab.experiment.search is not None
    plan = make_plan(lab, lambda config: ("d", ()))
    assert len(plan.trials) == (lab.experiment.search.trials if how == "random" else 0)
    assert plan.notes == ()


@pytest.mark.parametrize("name", ABLATIONS)
def test_every_experiment_composes_and_each_arm_is_live(name: str) -> None:
    lab = compose(check_overrides([f"+experiment={name}"]))
    assert lab.experiment is not None
    assert lab.experiment.name == name
    configs = arm_configs(lab.training, lab.experiment)
    assert len({config.model_dump_json() for config in configs.values()}) == len(lab.experiment.arms)
    trials = plan(configs, lab.experiment.seeds, Evidence("c", {}), dict.fromkeys(configs, "d"))
    assert sum(len(trial.arms) for trial in trials) == len(configs) * len(lab.experiment.seeds)


@pytest.mark.parametrize("name", groups()["experiment"])
def test_every_line_of_an_experiment_changes_something(name: str) -> None:
    """A line of an experiment that says what the base says already would mislead its reader."""
    base = flatten(compose(check_overrides([])).model_dump(mode="json"))
    values = OmegaConf.to_container(OmegaConf.load(CONF / "experiment" / f"{name}.yaml"))
    assert isinstance(values, dict)
    said = flatten({str(key): value for key, value in values.items() if key not in ("experiment", "defaults")})
    assert [key for key, value in said.items() if key in base and base[key] == value] == []


@pytest.mark.parametrize("name", groups()["experiment"])
def test_every_experiment_says_its_command_claim_and_cost(name: str) -> None:
    text = (CONF / "experiment" / f"{name}.yaml").read_text()
    assert text.startswith("# @package _global_\n")
    for words in (f"# python orchestration/sweep.py +experiment={name}", "# Claim", "# Papers", "# Cost"):
        assert words in text


def test_ablation_centerness_trains_six_times_for_nine_results() -> None:
    lab = compose(check_overrides(["+experiment=ablation_centerness"]))
    assert lab.experiment is not None
    configs = arm_configs(lab.training, lab.experiment)
    trials = plan(configs, lab.experiment.seeds, Evidence("c", {}), dict.fromkeys(configs, "d"))
    assert len(trials) == 6
    assert sum(len(trial.arms) for trial in trials) == 9
