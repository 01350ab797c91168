"""Trials of an experiment: one training for each seed and each arm that is trained differently."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fcos.config.evaluation import EvaluationSettings
from fcos.config.inactive_keys import why_inactive
from fcos.config.parse import flatten, known_keys, set_value, with_keys
from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.storage.store_conventions import RUN_ONLY
from orchestration.config.experiment import ARM_SECTIONS, SEED_KEYS, ExperimentConfig
from orchestration.config.groups import suggest_or_list
from orchestration.config.overrides import dotted_keys
from orchestration.experiment.identity import evaluation_identity, fingerprint, train_identity, trunk_identity, without
from orchestration.experiment.provenance import Provenance
from orchestration.experiment.training_folder import short_identity


@dataclass(frozen=True)
class Trial:
    """One training and the arms that are evaluated on its weights, or on averages of them."""

    identity: str
    seed: int
    # With the evaluation settings of the first arm.
    config: Config
    arms: Mapping[str, EvaluationSettings]
    data_digest: str
    # Trainings of the same trunk have first steps in common; see trunk_identity.
    trunk: str

    @property
    def averages(self) -> frozenset[float]:
        """The decays of the moving averages of the weights that the arms evaluate."""
        return frozenset(settings.ema for settings in self.arms.values() if settings.ema is not None)

    @property
    def short(self) -> str:
        """The part of the identity that names the training's folder."""
        return short_identity(self.identity)

    @property
    def label(self) -> str:
        """Arms and seed, for people."""
        if self.is_coverage and any(self.arms):
            return ", ".join(self.arms)
        return f"{', '.join(self.arms)} · seed {self.seed}" if any(self.arms) else f"seed {self.seed}"

    @property
    def is_coverage(self) -> bool:
        """Whether the trial counts what the assignment does, and trains nothing."""
        return self.config.task == "coverage"

    @property
    def values(self) -> dict[str, Any]:
        """The config as plain values."""
        return self.config.model_dump(mode="json")

    def values_of(self, arm: str) -> dict[str, Any]:
        """Return the config of one arm as plain values."""
        settings = self.arms[arm]
        values = set_value(self.values, "model.postprocess", settings.postprocess.model_dump(mode="json"))
        return set_value(values, "schedule.ema", settings.ema)

    def identity_of(self, arm: str) -> str:
        """Return the identity of an arm's evaluation."""
        return evaluation_identity(self.identity, self.arms[arm])


def arm_configs(base: Config, experiment: ExperimentConfig) -> dict[str, Config]:
    """Return the resolved config of every arm.

    Raises ConfigError for a key that no schema knows, a value it refuses, and two arms that are the same.
    """
    configs: dict[str, Config] = {}
    for arm, changes in experiment.arms.items():
        keys = flatten(changes)
        try:
            for key in keys:
                check_arm_key(key, noise_floor=experiment.kind == "noise_floor")
            configs[arm] = with_keys(base, keys)
            check_effect(keys, [configs[arm]])
        except ConfigError as error:
            raise ConfigError(f"{_arm_key(experiment, arm)}: {error}") from None
    seen: dict[str, str] = {}
    for arm, config in configs.items():
        text = deciding_fingerprint(config)
        if text in seen:
            raise ConfigError(_same_arms_message(experiment, seen[text], arm))
        seen[text] = arm
    return configs


def _arm_key(experiment: ExperimentConfig, arm: str) -> str:
    """Return the key that an arm stands below, or what of the factors it is."""
    return f"experiment.factors: cell {arm}" if experiment.factors else f"experiment.arms.{arm}"


def _same_arms_message(experiment: ExperimentConfig, one: str, other: str) -> str:
    """Return the message for two arms that are the same, with the factors in which two cells differ."""
    if experiment.design is None:
        return f"experiment.arms: {one} and {other} resolve to the same config; arms must differ"
    cells = dict(zip(experiment.design.arms, experiment.design.cells, strict=True))
    levels = zip(experiment.design.names, cells[one], cells[other], strict=True)
    differing = [f"{ours} and {theirs} of {factor}" for factor, ours, theirs in levels if ours != theirs]
    return (
        f"experiment.factors: the cells {one} and {other} resolve to the same config, although they differ in "
        f"{', '.join(differing)}; give levels that differ beside every level of the other factors"
    )


def deciding_fingerprint(config: Config) -> str:
    """Return a fingerprint, equal for configs that differ in nothing that makes an arm."""
    # What changes no number makes no arm; another data.root may hold other data.
    return fingerprint(without(config.model_dump(mode="json"), tuple(k for k in RUN_ONLY if k != "data.root")))


def check_effect(keys: Iterable[str], configs: Sequence[Config]) -> None:
    """Raise ConfigError for a key that was set although it changes nothing in any of the configs."""
    for key in keys:
        reasons = [why_inactive(config, key) for config in configs]
        if reasons and all(reasons):
            raise ConfigError(f"{key}: has no effect with {reasons[0]}; leave it out")


def check_arm_key(key: str, *, noise_floor: bool = False) -> None:
    """Raise ConfigError with close matches for a key that no arm can set, and for a seed.

    noise_floor: its arms set `seeds.*`, to show what each source of chance does.
    """
    parts = key.split(".")
    known = [name for name in dotted_keys(Config) if name.split(".")[0] in ARM_SECTIONS]
    if parts[0] in ARM_SECTIONS and all(part in known_keys(Config, parts[:i]) for i, part in enumerate(parts)):
        if _is_seed(key) and not (noise_floor and parts[0] == "seeds"):
            raise ConfigError(_seed_message(key))
        return
    if key == "seed":
        raise ConfigError(_seed_message(key))
    same_leaf = [name for name in known if name.split(".")[-1] == parts[-1]]
    raise ConfigError(f"no such key {key}; {suggest_or_list(key, same_leaf or known)}")


def _is_seed(key: str) -> bool:
    return any(key == seed or key.startswith(f"{seed}.") for seed in SEED_KEYS)


def _seed_message(key: str) -> str:
    return (
        f"{key}: a seed is nothing that an arm or a search may choose: what it makes better is luck. All share the "
        "seeds of experiment.seeds; what chance does is measured by kind=noise_floor (+experiment=noise_floor)"
    )


def plan_trials(
    configs: Mapping[str, Config],
    seeds: Sequence[int],
    provenance: Provenance,
    data_digests: Mapping[str, str],
    extends: str = "",
) -> tuple[Trial, ...]:
    """Return one training for each seed and training identity, seed by seed, so that pairs complete early.

    `data_digests` holds the digest of each arm's data, `extends` that of a checkpoint that all of them go on from.
    """
    trials: dict[str, Trial] = {}
    settings = {arm: EvaluationSettings.of(config) for arm, config in configs.items()}
    for seed in seeds:
        for arm, config in configs.items():
            seeded = config.model_copy(update={"seed": seed})
            identity = train_identity(seeded, provenance, data_digests[arm], extends)
            same = trials.get(identity)
            arms = {**(same.arms if same else {}), arm: settings[arm]}
            # One that goes on from another schedule has no steps in common with any.
            trunk = identity if extends else trunk_identity(seeded, provenance, data_digests[arm])
            trials[identity] = Trial(identity, seed, same.config if same else seeded, arms, data_digests[arm], trunk)
    return tuple(trials.values())


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return `key: old -> new` for every dotted key in which two plain configs differ."""
    old, new = flatten(before), flatten(after)
    keys = [*old, *(key for key in new if key not in old)]
    return [f"{key}: {old.get(key)!r} -> {new.get(key)!r}" for key in keys if old.get(key) != new.get(key)]
