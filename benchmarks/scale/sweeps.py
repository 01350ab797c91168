"""The sweeps that are simulated, and the commands that are measured on each."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

# arms: every arm with every seed; rounds: seeds until all is decided; search: TPE with early stopping; race: random
# points over several seeds; tune: no sweep, but Ray Tune itself (ray_tune.py).
Scenario = Literal["arms", "rounds", "search", "race", "tune"]
SCENARIOS: Final[tuple[Scenario, ...]] = ("arms", "rounds", "search", "race", "tune")
SEEDS: Final = (0, 1, 2, 3, 4)
FIRST_SEEDS: Final = (0, 1, 2)
MOST_SEEDS: Final = 12
NAME: Final = "scale"
SPACE: Final[Mapping[str, Any]] = {
    "model.assignment.center_sampling_radius": {"choice": [None, 1.0, 1.5, 2.0]},
    "model.loss.regression_weight": {"loguniform": [0.5, 4.0]},
    "model.loss.quality_weight": {"loguniform": [0.25, 2.0]},
    "schedule.lr_per_16_images": {"loguniform": [0.002, 0.05]},
}


@dataclass(frozen=True)
class Command:
    """A command on a sweep."""

    name: str
    words: tuple[str, ...]
    kind: Literal["sweep", "status", "report", "tune"] = "sweep"
    # Whether runs are recorded, and whether attempts of trainings fail.
    stores: bool = True
    fails: bool = False


@dataclass(frozen=True)
class Workspace:
    """The folder of one simulated sweep."""

    folder: Path
    scenario: Scenario
    count: int

    @property
    def output(self) -> Path:
        return self.folder / "outputs"

    def write_experiment(self) -> None:
        """Write the experiment's file into a folder of config files."""
        path = self.folder / "conf" / "experiment" / f"{NAME}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        schedule = {"steps": 400, "warmup_steps": 40, "log_every": 100, "eval_every": 200, "checkpoint_every": 200}
        values = {"schedule": schedule, "experiment": make_experiment(self.scenario, self.count)}
        # JSON is YAML too.
        path.write_text(f"# @package _global_\n{json.dumps(values, indent=1)}\n")

    def words(self, *more: str) -> tuple[str, ...]:
        """Return the command line of the sweep, with further words."""
        strategy = {"search": ("search=tpe_asha",), "race": ("search=random",)}.get(self.scenario, ())
        return (
            f"--config-dir={self.folder / 'conf'}",
            f"+experiment={NAME}",
            f"output={self.output}",
            f"data.cache_dir={self.folder.parent / 'cache'}",
            *("data.synthetic.image_size=64", "data.synthetic.object_size=[10,40]", "data.synthetic.train_images=24"),
            *("data.synthetic.val_images=6", "report=false", "tracking.system_metrics=false"),
            *strategy,
            *more,
        )

    def commands(self) -> list[Command]:
        """Return the commands that are measured, in their order."""
        if self.scenario == "tune":
            return [Command("tune", (str(self.count),), kind="tune")]
        if self.scenario != "arms":
            return [
                Command("plan", self.words("dry_run=true"), stores=False),
                Command("sweep", self.words(), stores=False, fails=True),
                Command("resume", self.words(), stores=False),
            ]
        uri = f"sqlite:///{self.output / 'mlflow.db'}"
        others = f"experiment.seeds={[seed + len(SEEDS) for seed in SEEDS]}".replace(" ", "")
        return [
            Command("plan", self.words("dry_run=true")),
            Command("explain", self.words("dry_run=true", "explain=true")),
            Command("sweep", self.words(), fails=True),
            Command("retry", self.words()),
            Command("resume", self.words()),
            Command("status", (NAME, f"--output={self.output}"), kind="status"),
            Command("explain finished", self.words("dry_run=true", "explain=true")),
            Command("explain others", self.words("name=others", others, "dry_run=true", "explain=true")),
            Command("plan again", self.words("name=again", "dry_run=true")),
            Command("report", (NAME, "--tracking-uri", uri, "--output", str(self.folder / "report")), kind="report"),
        ]


def make_experiment(scenario: Scenario, count: int) -> dict[str, Any]:
    """Return an experiment of so many trainings, those of later rounds and of a search at most."""
    experiment: dict[str, Any] = {"name": NAME, "metrics": ["val/AP", "val/AP50", "val/AP75"]}
    match scenario:
        case "arms":
            return {**experiment, **make_arms(count // len(SEEDS)), "seeds": list(SEEDS)}
        case "rounds":
            rounds = {"until": "decided", "seeds": list(FIRST_SEEDS), "most_seeds": MOST_SEEDS}
            return {**experiment, **make_arms(count // MOST_SEEDS), **rounds}
        case _:
            seeds = FIRST_SEEDS if scenario == "race" else (0,)
            return {**experiment, "search": {"space": dict(SPACE), "trials": count}, "seeds": list(seeds)}


def make_arms(count: int) -> dict[str, Any]:
    """Return so many arms, which differ in one number that each training has to itself, and their baseline."""
    names = [f"a{number:04d}" for number in range(max(2, count))]
    arms = {name: {"model.loss.regression_weight": round(1 + 1e-4 * n, 4)} for n, name in enumerate(names)}
    return {"baseline": names[0], "arms": arms}
