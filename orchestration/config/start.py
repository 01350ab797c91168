"""Where a training starts: model, schedule and augmentation for a folder of one's own, or weights to begin from."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from fcos.config.model import ModelConfig
from fcos.config.parse import flatten, parse, set_value
from fcos.storage.files import expanded
from orchestration.config.choice import Choice
from orchestration.config.conf_files import option_file, read_conf
from orchestration.config.given import Given
from orchestration.config.groups import default_options, groups


@dataclass(frozen=True)
class Start:
    """A model, a schedule and an augmentation that belong together, and how fast the model trains."""

    model: str
    schedule: str
    augmentation: str
    # Passes over the training images.
    epochs: int
    # Input megapixels a second that two CPU cores train on, evaluations included; a round number of slow ones.
    megapixels_per_second: float
    reason: str


# A detector from random weights needs more images and steps than folders of photographs have.
START: Final = Start(
    model="fcos_lite",
    schedule="finetune",
    augmentation="light",
    epochs=30,
    megapixels_per_second=1.15,
    reason="begins from weights trained on ImageNet, which are installed and need no network",
)
DETECTOR: Final = "model.weights"
# Settings that name weights to begin from.
WEIGHTS: Final = (DETECTOR, "model.backbone.weights")
# A command that gives one of these decides by itself how fast weights change.
RATES: Final = ("schedule.lr", "schedule.lr_per_16_images", "schedule.optimizer", "schedule.backbone_lr_factor")
# Settings of a detector that hold what it began from, and not what it is.
BEGINNINGS: Final = frozenset(
    f"model.{part}{key}" for part in ("", "backbone.") for key in ("weights", "weights_sha256")
)
# Composes the command line without its choices of some groups, and returns the option of each group.
OptionsWithout = Callable[[Collection[str]], Mapping[str, str | None]]


def choices_of_start(values: Mapping[str, Any], given: Given, options_without: OptionsWithout) -> tuple[Choice, ...]:
    """Choose what comes along with the words of a command: a schedule with weights, an augmentation with the schedule.

    Of an experiment nothing is changed that its file chooses, such as its model, also where a word of the command line
    names the same: its arms mean what they always did.
    """
    if values.get("task", "train") != "train":
        return ()
    schedule = schedule_for_weights(values, given)
    if not schedule and not _brings_schedule(given, options_without):
        return ()
    reason = f"goes with schedule={START.schedule}; none switches it off"
    return (*schedule, *chosen_augmentation(values, given, reason))


def _brings_schedule(given: Given, options_without: OptionsWithout) -> bool:
    """Return whether the schedule is there because the command line names it, or a model that it comes with.

    Without an experiment there is no other reason; an experiment's file may have chosen either already.
    """
    named = {"model", "schedule"} & given.named
    if given.options.get("schedule") != START.schedule or not named:
        return False
    if "experiment" not in given.groups:
        return True
    return options_without(named).get("schedule") != START.schedule


def schedule_for_weights(values: Mapping[str, Any], given: Given) -> list[Choice]:
    """Choose the schedule of a command that names weights to begin from, unless one or its rates are given.

    A schedule that a model's file or an experiment brings along stays.
    """
    key, default = named_weights(values, given), default_options()["schedule"]
    if key is None or given.options.get("schedule") != default or "schedule" in given.groups or given.sets(*RATES):
        return []
    reason = f"the training begins from {key}, which rates such as those of schedule={default} are known to destroy"
    return [Choice("schedule", {}, reason, (f"schedule={START.schedule}",))]


def chosen_augmentation(values: Mapping[str, Any], given: Given, reason: str) -> list[Choice]:
    """Choose the augmentation, unless one is given.

    values: composed before anything is chosen. Built-in files of data have no augmentation; one that is there comes
    from a user's own file.
    """
    of_data = (values.get("data") or {}).get("augmentation")
    if of_data or "augmentation" in given.groups or given.sets("data.augmentation"):
        return []
    return [Choice("augmentation", {}, reason, (f"augmentation={START.augmentation}",))]


def named_weights(values: Mapping[str, Any], given: Given) -> str | None:
    """Return the setting by which the command line itself names weights to begin from; None without any."""
    model = values.get("model")
    flat = flatten(model, "model.") if isinstance(model, Mapping) else {}
    return next((key for key in WEIGHTS if key in given.named and flat.get(key) is not None), None)


def detector_choice(weights: str, given: Given) -> Choice:
    """Choose the model of a trained detector: the option that differs least from it, and the settings that differ.

    Settings that are given stay. Raises ConfigError where the value of model.weights stands for no detector.
    """
    # Reads the detector with torch.
    from fcos.weights.begin import model_of

    theirs = _settings(model_of(str(expanded(weights, f"{DETECTOR}={weights}"))))
    differences: dict[str, dict[str, Any]] = {}
    for option in groups()["model"]:
        ours = _settings(parse(ModelConfig, _option_values(option)))
        differences[option] = {key: each for key, each in theirs.items() if ours[key] != each and not given.sets(key)}
    nearest = min(differences, key=lambda option: len(differences[option]))
    reason = f"the detector of {DETECTOR}={weights}, from which the training begins"
    return Choice("model", differences[nearest], reason, (f"model={nearest}",))


def _settings(model: ModelConfig) -> dict[str, Any]:
    """Return a model as dotted keys, without what it began from."""
    flat = flatten(model.model_dump(mode="json"), "model.")
    return {key: value for key, value in flat.items() if key not in BEGINNINGS}


def _option_values(option: str) -> dict[str, Any]:
    """Return the keys of a model's file and of those in its defaults list, its own last."""
    content = read_conf(option_file("model", option))
    bases = [base for base in content.pop("defaults", ()) if isinstance(base, str) and base != "_self_"]
    values: dict[str, Any] = {}
    for part in (*map(_option_values, bases), content):
        for key, value in flatten(part).items():
            values = set_value(values, key, value)
    return values
