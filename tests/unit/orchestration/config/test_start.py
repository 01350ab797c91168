"""What comes along with a model or with weights to begin from, and that nothing of it replaces what is given."""

import pytest

from orchestration.config.compose import compose_with_choices
from orchestration.config.overrides import check_overrides
from orchestration.config.schema import LabConfig

FILE = "model.backbone.weights=backbone.pth"
LITE = "model=fcos_lite"
LIGHT = {"augmentation": "augmentation=light"}
FINETUNE = {"schedule": "schedule=finetune", **LIGHT}


def lab_of(*words: str) -> LabConfig:
    return compose_with_choices(check_overrides(words)).lab


def chosen(*words: str) -> dict[str, str]:
    choices = compose_with_choices(check_overrides(words)).choices
    assert all(choice.reason for choice in choices)
    return {choice.topic: choice.by_hand for choice in choices}


@pytest.mark.parametrize(
    "words",
    [
        ["model.weights=runs/one"],
        [FILE],
        ["model=fcos_v2_r50", "model.weights=runs/one"],
        ["model.weights=runs/one", "schedule.steps=40", "schedule.warmup_steps=4"],
    ],
)
def test_weights_bring_a_schedule_that_keeps_them(words: list[str]) -> None:
    assert chosen(*words) == FINETUNE
    lab = lab_of(*words)
    assert (lab.schedule.lr, lab.schedule.backbone_lr_factor) == (0.003, 0.3)
    assert lab.schedule.steps == (40 if "schedule.steps=40" in words else 1000)
    assert lab.data.augmentation.photometric == 0.3
    by_hand = lab_of(*words, *FINETUNE.values())
    assert by_hand == lab and chosen(*words, *FINETUNE.values()) == {}


@pytest.mark.parametrize(
    "words",
    [
        [],
        [FILE, "schedule=embedded"],
        [FILE, "schedule.lr=0.0005"],
        [FILE, "schedule.optimizer=sgd"],
        ["model.backbone.weights=null"],
        # A paper's recipe begins from weights too, and is trained by the schedules of the papers.
        ["model=fcos_v2_r50"],
        ["+experiment=ablation_centerness", FILE],
        ["+experiment=ablation_pretraining"],
        ["+experiment=ablation_start"],
        ["+experiment=ablation_finetuning"],
        ["+experiment=search_finetuning"],
        ["+experiment=advise_levels", FILE],
        # What an experiment's file chooses is named once more.
        ["+experiment=ablation_start", LITE],
        ["+experiment=ablation_finetuning", "schedule=finetune"],
        ["+experiment=ablation_start", LITE, "schedule=finetune", "schedule.steps=60"],
    ],
)
def test_a_schedule_or_rates_that_are_given_stay(words: list[str]) -> None:
    assert chosen(*words) == {}


def test_a_model_that_brings_the_schedule_brings_the_augmentation() -> None:
    assert chosen(LITE) == LIGHT
    assert lab_of(LITE) == lab_of(LITE, "augmentation=light")
    assert chosen(LITE, "schedule=embedded") == {}
    assert chosen("schedule=finetune") == LIGHT
    assert chosen("+experiment=ablation_flip", LITE) == LIGHT
    assert chosen("+experiment=ablation_flip", "schedule=finetune") == LIGHT


@pytest.mark.parametrize("given", ["augmentation=none", "augmentation=null", "data.augmentation.mosaic=0.5"])
def test_an_augmentation_that_is_given_stays(given: str) -> None:
    assert chosen(LITE, given) == {}
    assert lab_of(LITE, given).data.augmentation.photometric == 0.0


@pytest.mark.parametrize("experiment", ["ablation_augmentation", "ladder_augmentation", "ablation_visibility"])
def test_experiments_on_augmentations_have_their_own(experiment: str) -> None:
    assert chosen(f"+experiment={experiment}", LITE) == {}
