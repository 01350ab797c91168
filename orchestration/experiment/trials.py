"""Baseline, arms and seeds -> the list of trainings (pure)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fcos.config.inactive_keys import why_inactive
from fcos.config.parse import flatten, known_keys, parse, set_value
from fcos.config.run import Config
from fcos.errors import ConfigError
from orchestration.config.groups import near
from orchestration.config.overrides import dotted_keys
from orchestration.config.schema import ExperimentConfig
from orchestration.experiment.identity import RUN_ONLY, evaluation_identity, fingerprint, train_identity, without
from orchestration.experiment.provenance import Evidence

# What an arm may change; seeds are an axis of their own.
ARM_SECTIONS = ("model", "data", "schedule", "coverage")


@dataclass(frozen=True)
class Trial:
    """One training and the arms that are evaluated on its weights."""

    identity: str
    seed: int
    # The resolved config as plain values, with the inference settings of the first arm.
    config: Mapping[str, Any]
    # Arm -> its inference settings as plain values.
    arms: Mapping[str, Mapping[str, Any]]
    data_digest: str

    @property
    def short(self) -> str:
        """Enough of the identity to name a folder."""
        return self.identity[:16]

    @property
    def label(self) -> str:
        if is_coverage(self) and any(self.arms):
            return ", ".join(self.arms)
        return f"{', '.join(self.arms)} · seed {self.seed}" if any(self.arms) else f"seed {self.seed}"

    def config_of(self, arm: str) -> dict[str, Any]:
        """The resolved config of one arm."""
        return {**self.config, "model": {**self.config["model"], "postprocess": dict(self.arms[arm])}}

    def identity_of(self, arm: str) -> str:
        return evaluation_identity(self.identity, self.arms[arm])


def is_coverage(trial: Trial) -> bool:
    """Whether a trial counts what the assignment does, and trains nothing."""
    return trial.config.get("task") == "coverage"


def arm_configs(base: Config, experiment: ExperimentConfig) -> dict[str, Config]:
    """The resolved config of every arm.

    Raises ConfigError for a key that no schema knows, a value it refuses, and two arms that are the same.
    """
    plain = base.model_dump(mode="json")
    configs: dict[str, Config] = {}
    for arm, changes in experiment.arms.items():
        values = plain
        try:
            for key, value in flatten(changes).items():
                check_arm_key(key)
                values = set_value(values, key, value)
            configs[arm] = parse(Config, values)
            check_effect(flatten(changes), [configs[arm]])
        except ConfigError as error:
            raise ConfigError(f"experiment.arms.{arm}: {error}") from None
    seen: dict[str, str] = {}
    for arm, config in configs.items():
        text = deciding_fingerprint(config)
        if text in seen:
            raise ConfigError(f"experiment.arms: {seen[text]} and {arm} resolve to the same config; arms must differ")
        seen[text] = arm
    return configs


def deciding_fingerprint(config: Config) -> str:
    """Equal for configs that differ in nothing that makes an arm."""
    # What changes no number makes no arm; another data.root may hold other data.
    return fingerprint(without(config.model_dump(mode="json"), tuple(k for k in RUN_ONLY if k != "data.root")))


def check_effect(keys: Iterable[str], configs: Sequence[Config]) -> None:
    """Raises ConfigError for a key that was set although it changes nothing in any of the configs."""
    for key in keys:
        reasons = [why_inactive(config, key) for config in configs]
        if reasons and all(reasons):
            raise ConfigError(f"{key}: has no effect with {reasons[0]}; leave it out")


def check_arm_key(key: str) -> None:
    """Raises ConfigError with near matches for a key that no arm can set."""
    parts = key.split(".")
    known = [name for name in dotted_keys(Config) if name.split(".")[0] in ARM_SECTIONS]
    if parts[0] in ARM_SECTIONS and all(part in known_keys(Config, parts[:place]) for place, part in enumerate(parts)):
        return
    same_leaf = [name for name in known if name.split(".")[-1] == parts[-1]]
    raise ConfigError(f"no such key {key}; {near(key, same_leaf or known)}")


def plan(
    configs: Mapping[str, Config], seeds: Sequence[int], evidence: Evidence, data_digests: Mapping[str, str]
) -> tuple[Trial, ...]:
    """One training for each (seed, training identity), seed by seed, so that pairs complete early.

    `data_digests` holds the digest of each arm's data.
    """
    trials: dict[str, Trial] = {}
    for seed in seeds:
        for arm, config in configs.items():
            plain = config.model_copy(update={"seed": seed}).model_dump(mode="json")
            identity = train_identity(plain, evidence, data_digests[arm])
            postprocess = plain["model"]["postprocess"]
            known = trials.get(identity)
            trials[identity] = Trial(
                identity=identity,
                seed=seed,
                config=known.config if known else plain,
                arms={**known.arms, arm: postprocess} if known else {arm: postprocess},
                data_digest=data_digests[arm],
            )
    return tuple(trials.values())


def changed_keys(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """`key: old -> new` for every dotted key in which two plain configs differ."""
    old, new = flatten(before), flatten(after)
    keys = [*old, *(key for key in new if key not in old)]
    return [f"{key}: {old.get(key)!r} -> {new.get(key)!r}" for key in keys if old.get(key) != new.get(key)]
