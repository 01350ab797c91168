"""Make the plan of a sweep, or of one training, from a validated config."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.installation import command
from fcos.storage.store_conventions import BASE_ARM
from orchestration.config.experiment import ARM_SECTIONS
from orchestration.config.factorial import describe_design
from orchestration.config.groups import groups
from orchestration.config.overrides import split_config_dir
from orchestration.config.schema import LabConfig
from orchestration.experiment.config_checks import (
    check_arm,
    check_metrics,
    check_ranking,
    check_values,
    requested_metrics,
)
from orchestration.experiment.data import PrepareData, PreparedDatasets
from orchestration.experiment.provenance import current_provenance
from orchestration.experiment.trials import Trial, arm_configs, check_effect, plan_trials
from orchestration.experiment.weights import BeginningNotes, pin_weights
from orchestration.planning.first_steps.recorded_extension import plan_extension
from orchestration.planning.inspect_note import inspect_notes
from orchestration.planning.plan import Plan, StoredPlan, read_plan
from orchestration.planning.warm_start import check_warm_start, find_observed_seeds, observe
from orchestration.search.points import make_search, sample_planned, search_notes
from orchestration.search.stored_search import sampled_before, with_seeds_before


def set_keys(overrides: Sequence[str]) -> list[str]:
    """Return the dotted keys of a training that a command line sets."""
    keys = [override.lstrip("+").partition("=")[0] for override in overrides if not override.startswith("~")]
    return [key for key in keys if "." in key and key.split(".")[0] in ARM_SECTIONS]


def make_plan(lab: LabConfig, prepare_data: PrepareData, overrides: Sequence[str] = ()) -> Plan:
    """Plan an experiment; `prepare_data` makes a config's data ready and gives its digest and remarks.

    The plan of a search whose points follow from results holds those that earlier commands drew.
    Raises ConfigError where the config names no experiment or an arm is wrong.
    """
    if lab.experiment is None:
        own, _ = split_config_dir(overrides)
        known = ", ".join(groups(own)["experiment"])
        raise ConfigError(f"no experiment is chosen; give +experiment=<name>, there are: {known}")
    if lab.experiment.search is not None:
        return _plan_search(lab, prepare_data, overrides)
    arms = arm_configs(lab.training, lab.experiment)
    check_effect(set_keys(overrides), list(arms.values()))
    check_metrics(lab.experiment.metrics, arms.values())
    check_ranking(lab)
    data = PreparedDatasets(prepare_data)
    plan = _plan(lab, lab.name or lab.experiment.name, arms, lab.experiment.all_seeds, data)
    design = [] if lab.experiment.design is None else describe_design(lab.experiment.design)
    notes = (*design, *plan.notes, *check_values(lab, tuple(arms.values()), data))
    first_round = lab.experiment.seeds if lab.experiment.until == "decided" else ()
    return replace(plan, notes=notes, first_round=first_round)


def _plan_search(lab: LabConfig, prepare_data: PrepareData, overrides: Sequence[str]) -> Plan:
    assert lab.experiment is not None
    check_metrics(requested_metrics(lab.experiment), [lab.training])
    check_ranking(lab)
    data = PreparedDatasets(prepare_data)
    search = make_search(lab, data, overrides)
    # What every point shares is checked before the first is drawn.
    check_arm(lab.training, lab.cluster)
    notes = [*check_values(lab, [lab.training], data), *search_notes(search)]
    name = lab.name or lab.experiment.name
    stored = read_plan(lab.folder / name) if search.samples_as_it_goes else None
    before = None if stored is None else stored.search
    search.observed_seeds.update(find_observed_seeds(lab, before))
    search = with_seeds_before(search, before)
    if search.samples_as_it_goes:
        configs = sampled_before(search, before)
    else:
        configs, left_out = sample_planned(search)
        notes += left_out
    if search.races:
        configs[BASE_ARM] = lab.training
    check_warm_start(search)
    notes += observe(lab, search, name, stored)
    plan = _plan(lab, name, configs, (*search.seeds, *search.confirm_seeds), data)
    trials = _begun(plan, stored) if search.races else list(plan.trials)
    return replace(plan, trials=trials, search=search, notes=(*plan.notes, *notes))


def _begun(plan: Plan, stored: StoredPlan | None) -> list[Trial]:
    """Return the trainings of a race that earlier commands began, in their order and with the arms that they had."""
    planned = {trial.identity: trial for trial in plan.trials}
    before = [] if stored is None else [each for each in stored.trials if each.identity in planned]
    return [
        replace(trial, arms={arm: trial.arms[arm] for arm in each.arms if arm in trial.arms})
        for each in before
        for trial in [planned[each.identity]]
    ]


def make_single_plan(lab: LabConfig, prepare_data: PrepareData, overrides: Sequence[str] = ()) -> Plan:
    """Plan one run, without arms; unnamed it is called after its identity."""
    if lab.experiment is not None:
        raise ConfigError(f"experiment: a single run has no arms; use {command('sweep')}")
    check_effect(set_keys(overrides), [lab.training])
    data = PreparedDatasets(prepare_data)
    plan = _plan(lab, lab.name or "run", {"": lab.training}, (lab.seed,), data)
    check_values(lab, [lab.training], data)
    if lab.name is not None:
        return plan
    name = f"run-{plan.trials[0].identity[:8]}"
    return replace(plan, name=name, folder=lab.folder / name)


def _plan(
    lab: LabConfig, name: str, arms: Mapping[str, Config], seeds: tuple[int, ...], data: PreparedDatasets
) -> Plan:
    for config in arms.values():
        check_arm(config, lab.cluster)
    arms = {arm: pin_weights(config) for arm, config in arms.items()}
    digests = {arm: data.of(config) for arm, config in arms.items()}
    provenance = current_provenance(lab.task, lab.cluster.workers)
    seeded = (config.model_copy(update={"seed": seed}) for config in arms.values() for seed in seeds)
    extension = plan_extension(lab, name, seeded)
    if extension is not None:
        for arm, config in arms.items():
            extension.check_data(data.info(config).classes, digests[arm])
    trials = plan_trials(arms, seeds, provenance, digests, "" if extension is None else extension.sha256)
    beginning = BeginningNotes()
    notes = [note for config in arms.values() for note in beginning.of(config, data.info(config).classes)]
    notes = [*data.notes, *inspect_notes(lab.training, data.notes), *dict.fromkeys(notes)]
    made = Plan(name, lab.folder / name, trials, provenance, dict(arms), tuple(notes))
    return replace(made, shares=lab.share_prefixes, extension=extension, datasets=data)
