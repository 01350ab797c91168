"""Make the plan of a sweep, or of one training, from a validated config."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.installation import command
from orchestration.config.groups import groups
from orchestration.config.schema import LabConfig
from orchestration.experiment.checks import asked_metrics, check_arm, check_metrics, check_ranking, check_values
from orchestration.experiment.data import DataDigests, PrepareData
from orchestration.experiment.provenance import evidence_here
from orchestration.experiment.trials import ARM_SECTIONS, arm_configs, check_effect, plan
from orchestration.planning.plan import PLAN, Plan, _stored
from orchestration.search.points import begin_search, draw_planned, drawn_before, search_remarks


def set_keys(overrides: Sequence[str]) -> list[str]:
    """The dotted keys of a training that a command line sets."""
    keys = [override.lstrip("+").partition("=")[0] for override in overrides if not override.startswith("~")]
    return [key for key in keys if "." in key and key.split(".")[0] in ARM_SECTIONS]


def make_plan(lab: LabConfig, prepare_data: PrepareData, overrides: Sequence[str] = ()) -> Plan:
    """The plan of an experiment; `prepare_data` makes a config's data ready and gives its digest and remarks.

    The plan of a search whose points follow from results holds those that earlier commands drew.
    Raises ConfigError where the config names no experiment or an arm is wrong.
    """
    if lab.experiment is None:
        known = ", ".join(groups()["experiment"])
        raise ConfigError(f"no experiment is chosen; give +experiment=<name>, there are: {known}")
    name = lab.name or lab.experiment.name
    if lab.experiment.search is None:
        arms = arm_configs(lab.training, lab.experiment)
        check_effect(set_keys(overrides), list(arms.values()))
        check_metrics(lab.experiment.metrics, arms.values())
        check_ranking(lab)
        digests = DataDigests(prepare_data)
        found = _plan(lab, name, arms, lab.experiment.seeds, digests)
        return replace(found, notes=(*found.notes, *check_values(lab, tuple(arms.values()), digests)))
    check_metrics(asked_metrics(lab.experiment), [lab.training])
    check_ranking(lab)
    digests = DataDigests(prepare_data)
    search = begin_search(lab, digests, overrides)
    # What every point shares is told of before the first is drawn.
    check_arm(lab.training, lab.cluster)
    remarks = [*check_values(lab, [lab.training], digests), *search_remarks(search)]
    if search.draws_as_it_goes:
        configs = drawn_before(search, _stored(lab.folder / name / PLAN))
    else:
        configs, left_out = draw_planned(search)
        remarks += left_out
    found = _plan(lab, name, configs, lab.experiment.seeds, digests)
    return replace(found, trials=list(found.trials), search=search, notes=(*found.notes, *remarks))


def make_single_plan(lab: LabConfig, prepare_data: PrepareData, overrides: Sequence[str] = ()) -> Plan:
    """The plan of one run, without arms; unnamed it is called after its identity."""
    if lab.experiment is not None:
        raise ConfigError(f"experiment: a single run has no arms; use {command('sweep')}")
    check_effect(set_keys(overrides), [lab.training])
    digests = DataDigests(prepare_data)
    found = _plan(lab, lab.name or "run", {"": lab.training}, (lab.seed,), digests)
    check_values(lab, [lab.training], digests)
    if lab.name is not None:
        return found
    name = f"run-{found.trials[0].identity[:8]}"
    return Plan(name, lab.folder / name, found.trials, found.evidence, found.arms, found.notes)


def _plan(lab: LabConfig, name: str, arms: Mapping[str, Config], seeds: tuple[int, ...], data: DataDigests) -> Plan:
    for config in arms.values():
        check_arm(config, lab.cluster)
    digests = {arm: data.of(config) for arm, config in arms.items()}
    evidence = evidence_here(lab.cluster.workers)
    plain = {arm: config.model_dump(mode="json") for arm, config in arms.items()}
    return Plan(name, lab.folder / name, plan(arms, seeds, evidence, digests), evidence, plain, data.notes)
