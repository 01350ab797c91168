"""Presets of other implementations are valid models that agree with ours of the same origin."""

from pathlib import Path

import pytest

from fcos.config import presets as module
from fcos.config.model import ModelConfig
from fcos.config.parse import flatten, parse
from fcos.config.presets import load_presets
from fcos.errors import ConfigError


def test_every_implementation_is_a_valid_model() -> None:
    models = load_presets()
    assert next(iter(models)) == "official_v1"
    assert set(models) == {
        "official_v1", "official_improved", "adelaidet", "torchvision", "mmdetection", "detectron2", "fcos_plus",
        "rosinality",
    }  # fmt: skip
    assert len({model.model_dump_json() for model in models.values()}) == len(models)


@pytest.mark.parametrize(
    ("preset", "model", "different"),
    [
        ("torchvision", "torchvision", {}),
        # The papers themselves say a product (v1) and open ends (v2), and nothing of the others.
        (
            "official_v1",
            "fcos_v1_r50",
            {
                "postprocess.score": ("sqrt", "product"),
                "postprocess.nms_corners": ("inclusive", "plain"),
                "loss.normalizer_floor": ("one_per_worker", "one_per_step"),
            },
        ),
        (
            "adelaidet",
            "fcos_v2_r50",
            {
                "assignment.ends": ("closed", "open"),
                "postprocess.clip": ("after_nms", "before_nms"),
                "postprocess.drop_empty": ("after_nms", "never"),
                "loss.normalizer_floor": ("one_per_worker", "one_per_step"),
            },
        ),
    ],
)
def test_presets_agree_with_the_models_of_the_same_origin(read_group, preset: str, model: str, different) -> None:
    preset_values = flatten(load_presets()[preset].model_dump())
    model_values = flatten(parse(ModelConfig, read_group("model", model)).model_dump())
    assert {
        key: (preset_values[key], model_values[key]) for key in preset_values if preset_values[key] != model_values[key]
    } == different


def test_implementations_whose_towers_have_no_bias() -> None:
    assert {name for name, model in load_presets().items() if not model.head.conv_bias} == {"mmdetection", "rosinality"}


def test_what_no_key_holds_stands_at_the_top_of_each_preset() -> None:
    """What differs and is no setting is declared."""
    declared = {
        "rosinality": ("padded to the next multiple of 32 above", "positives plus the number of images"),
        "fcos_plus": ("positives plus the number of images",),
        "adelaidet": ("IoU with 1 added", "divides the class loss alone"),
        "detectron2": ("begins at 300",),
    }
    for name, sentences in declared.items():
        lines = (module.CONF / "implementation" / f"{name}.yaml").read_text().splitlines()
        comment = " ".join(line.removeprefix("#").strip() for line in lines if line.startswith("#"))
        assert [sentence for sentence in sentences if sentence not in comment] == [], name


def test_an_installation_without_presets_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "CONF", tmp_path)
    with pytest.raises(ConfigError, match=r"no presets there; .* work in a checkout, or install"):
        load_presets()
