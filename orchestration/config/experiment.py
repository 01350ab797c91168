"""Config of an experiment: arms with a baseline and seeds, factors, or a search."""

import re
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fcos.config.base import Section
from fcos.config.parse import flatten
from fcos.statistics.factorial import FactorialDesign
from fcos.statistics.margin import margin_of
from orchestration.config.factorial import plan_design
from orchestration.config.search import SearchConfig

# Valid as a folder name, as a tag and in a command line.
NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
NAME_RULE = "must be 1 to 64 of the characters A-Z a-z 0-9 _ - . and not begin with a dot or a dash"
# Sections of a configuration that an arm may change, and of which a search may sample; `seed` is an axis of its own.
ARM_SECTIONS = ("model", "data", "schedule", "coverage", "seeds")
# Keys that decide by chance alone, so that no arm and no search may choose them: that would be the choice of its luck.
SEED_KEYS = ("seed", "seeds", "data.synthetic.seed")


class ExperimentConfig(Section):
    """A baseline, arms that each change a few keys, and the seeds that all arms share; or factors; or a search."""

    # Name of the experiment, of its folder below `output` and of its run, unless `name` gives another.
    name: str
    # Sentence of a paper that the experiment examines; its report begins with it.
    claim: str = ""
    # Arm that the others are compared with, seed by seed; coverage is deterministic and needs none.
    baseline: str | None = None
    # Arm -> the dotted keys that it changes; the option of a preset group is replaced by the keys of its file.
    arms: dict[str, dict[str, Any]] = Field(default_factory=dict)
    # Whether every arm includes the changes of those above it.
    cumulative: bool = False
    # Instead of arms: factor -> level -> the dotted keys that it sets. The arms are the cells of the design, the
    # baseline is that of all first levels.
    factors: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict)
    # Generators of a fraction of the cells, such as quality=norm*loss; a number p is a fraction of 2^-p.
    fraction: tuple[str, ...] = ()
    # Effects that the claim is about, such as norm or norm*loss: they alone are tested, and none may be aliased with
    # another one or a main effect. Empty for all main effects and interactions of two factors.
    claimed_effects: tuple[str, ...] = ()
    # Instead of arms: a search space; its strategy is the config group `search`.
    search: SearchConfig | None = None
    # Seeds that every arm is trained with; with until=decided those of the first round; in a search those that a point
    # may get.
    seeds: tuple[int, ...] = Field(min_length=1)
    # seeds: no more than these. decided: one more seed at a time, in which arms that are decided are left out, until
    # every arm is decided on the first metric or has most_seeds.
    until: Literal["seeds", "decided"] = "seeds"
    # until=decided: number of seeds at which an arm that is not decided is left as it is.
    most_seeds: int = Field(default=12, ge=1, le=100)
    # Metrics of the report; the first one is tested and decides.
    metrics: tuple[str, ...] = Field(default=("val/AP",), min_length=1)
    # Largest difference of the first metric that does not matter, in percent points of AP; of a search, of its metric
    # where seeds confirm the winner.
    margin: float = 1.0
    # Arm -> corresponding rows of the papers' tables.
    paper: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    # noise_floor: arms are the baseline itself, each with other seeds fixed, and the report splits the noise by them.
    kind: Literal["comparison", "noise_floor"] = "comparison"
    # Difference in the first metric that the claim is about, in percent points: dry_run=true shows how many seeds
    # would find it.
    effect: float | None = Field(default=None, gt=0, lt=100)

    @model_validator(mode="after")
    def _check_factors(self) -> Self:
        for factor, levels in self.factors.items():
            for name in (factor, *levels):
                if not NAME.fullmatch(name):
                    raise ValueError(f"factors.{factor}: the name {name!r} {NAME_RULE}")
        if self.design is None and (self.fraction or self.claimed_effects):
            raise ValueError("fraction, claimed_effects: have no effect without experiment.factors; leave them out")
        if self.design is not None and tuple(self.arms) != self.design.arms:
            raise ValueError("arms, factors: the arms are the cells of the factors; give exactly one of them")
        return self

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"name={self.name!r}: {NAME_RULE}")
        for arm in () if self.factors else self.arms:
            if not NAME.fullmatch(arm):
                raise ValueError(f"arms: the arm {arm!r} {NAME_RULE}")
        if (self.search is None) == (not self.arms):
            given = "neither is given" if self.search is None else "both are given"
            raise ValueError(f"arms, factors, search: give exactly one of them; {given}")
        if self.search is not None and (self.baseline is not None or self.paper):
            raise ValueError("baseline, paper: have no meaning for a search, whose trainings have no names yet")
        if self.baseline is not None and self.baseline not in self.arms:
            raise ValueError(f"baseline={self.baseline}: is not an arm; the arms are {', '.join(self.arms)}")
        if len(set(self.seeds)) != len(self.seeds) or min(self.seeds) < 0:
            raise ValueError(f"seeds={list(self.seeds)}: must be different and not negative")
        if len(set(self.metrics)) < len(self.metrics):
            raise ValueError(f"metrics={list(self.metrics)}: each may be named once")
        if not 0 < self.margin < 100:
            raise ValueError(
                f"margin={self.margin:g}: must be above 0 and below 100, in percent points of AP: 1.0 is an AP of 0.01"
            )
        if unknown := sorted(set(self.paper) - set(self.arms)):
            raise ValueError(f"paper: {', '.join(unknown)}: no such arm; the arms are {', '.join(self.arms)}")
        return self

    @model_validator(mode="after")
    def _check_decision(self) -> Self:
        """Check what only a comparison with a baseline has: its margin, effect, and seeds until it is decided."""
        if self.baseline is None:
            kind = "a search" if self.search is not None else "an experiment without a baseline"
        else:
            kind = "kind=noise_floor" if self.kind == "noise_floor" else ""
        if self.until == "decided":
            if kind:
                raise ValueError(f"until=decided: compares arms with experiment.baseline seed by seed, not {kind}")
            if self.most_seeds < len(self.seeds):
                raise ValueError(f"most_seeds={self.most_seeds}: must not be below the {len(self.seeds)} seeds given")
        elif self._is_set("most_seeds"):
            raise ValueError(f"most_seeds={self.most_seeds}: has no effect without until=decided; leave it out")
        if kind and self._is_set("effect"):
            raise ValueError(f"effect={self.effect:g}: has no effect with {kind}; leave it out")
        if self.sets_margin and (without_margin := self._find_no_margin(kind)):
            raise ValueError(f"margin={self.margin:g}: has no effect with {without_margin}; leave it out")
        return self

    def _find_no_margin(self, kind: str) -> str:
        """Return with what the margin decides nothing; "" where it does, or where seeds may confirm a search's winner.

        kind: what compares no arms, "" for what does.
        """
        if self.search is not None:
            metric, no_ap = self.search.metric, f"search.metric={self.search.metric}, which is no AP"
        elif kind:
            return kind
        else:
            metric, no_ap = self.metrics[0], f"metrics={list(self.metrics)}, whose first is no AP"
        return no_ap if margin_of(metric, self.margin) is None else ""

    @property
    def sets_margin(self) -> bool:
        """Whether the margin is another than the default."""
        return self._is_set("margin")

    def _is_set(self, key: str) -> bool:
        return bool(getattr(self, key) != ExperimentConfig.model_fields[key].default)

    @model_validator(mode="after")
    def _check_noise_floor(self) -> Self:
        if self.kind != "noise_floor":
            return self
        if self.search is not None:
            raise ValueError("kind=noise_floor: has arms that differ in seeds; leave the search out")
        changes = {arm: flatten(keys) for arm, keys in self.arms.items()}
        other = next(
            ((arm, key) for arm, keys in changes.items() for key in keys if not key.startswith("seeds.")), None
        )
        if other is not None:
            arm, key = other
            raise ValueError(
                f"arms.{arm}: {key}: with kind=noise_floor all arms train the same, with other seeds; set it for the "
                f"whole sweep ({key}=...), or leave kind out"
            )
        fixed = (
            [] if self.baseline is None else [key for key, seed in changes[self.baseline].items() if seed is not None]
        )
        if fixed:
            raise ValueError(
                f"arms.{self.baseline}: {', '.join(fixed)}: is the baseline of kind=noise_floor, in which every seed "
                "varies; set it to null"
            )
        return self

    @property
    def design(self) -> FactorialDesign | None:
        """The design of the factors, None where the arms are given by name."""
        return plan_design(self.factors, self.fraction, self.claimed_effects) if self.factors else None

    @property
    def all_seeds(self) -> tuple[int, ...]:
        """The seeds that are trained, with until=decided also those that may be: the numbers after the first ones."""
        more = self.most_seeds - len(self.seeds) if self.until == "decided" else 0
        return (*self.seeds, *range(max(self.seeds) + 1, max(self.seeds) + 1 + more))
