"""Micro-batches of one image on a level of one location are refused with batch norm, and only then."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from fcos.config.parse import parse
from fcos.config.run import Config
from fcos.data.prepare import prepare, sample_sizes
from fcos.errors import ConfigError
from fcos.runtime import LocalRuntime
from fcos.training.batch_norms import check_batch_norms
from fcos.training_run import run


@dataclass
class Case:
    """A configuration whose training set has 24 images of 64x64, of which P6 and P7 see one location."""

    values: dict[str, Any]

    def check(self, changes: Mapping[str, Any] | None = None, *, workers: int = 1, **more: Any) -> None:
        for key, value in {**(changes or {}), **more}.items():
            section, name = key.split("__")
            target = self.values if section == "schedule" else self.values["model"]
            target[section][name] = value
        config = parse(Config, self.values)
        sizes = sample_sizes(prepare(config.data), "train", config.data)
        check_batch_norms(config, sizes, workers=workers)


@pytest.fixture
def case(tiny_values: dict[str, Any]) -> Case:
    tiny_values["schedule"] |= {"batch_size": 1}
    tiny_values["model"]["levels"] = [3, 4, 5, 6, 7]
    tiny_values["model"]["assignment"]["ranges"] = [[0, 64], [64, 128], [128, 256], [256, 512], [512, None]]
    return Case(tiny_values)


@pytest.mark.parametrize("norm", ["bn", "bn_per_level", "sync_bn"])
def test_one_image_on_a_level_of_one_location_is_refused(case: Case, norm: str) -> None:
    with pytest.raises(ConfigError) as error:
        case.check(head__norm=norm)
    message = str(error.value)
    assert message.startswith("schedule.batch_size=1, schedule.accumulate=1: leaves one image to a micro-batch")
    assert (
        f"model.head.norm={norm} has no variance over the one location that P7 (stride 128) has on 24 of 24" in message
    )


def test_the_refusal_is_torchs_own_of_the_first_step(case: Case, tmp_path: Path) -> None:
    case.values["model"]["head"]["norm"] = "bn"
    with pytest.raises(ConfigError, match=r"model\.head\.norm=bn has no variance"):
        run(parse(Config, case.values), LocalRuntime(tmp_path / "run", torch.device("cpu")))


@pytest.mark.parametrize("norm", ["gn", "none"])
def test_norms_without_batch_statistics_take_one_image(case: Case, norm: str) -> None:
    case.check(head__norm=norm)


def test_a_head_without_convolutions_has_no_norm(case: Case) -> None:
    case.check(head__norm="bn", head__num_convs=0)


def test_larger_micro_batches_and_finer_levels_pass(case: Case) -> None:
    case.check(head__norm="bn", schedule__batch_size=2)
    case.values["model"]["levels"] = [3, 4, 5]
    case.values["model"]["assignment"]["ranges"] = [[0, 64], [64, 128], [128, None]]
    case.check(schedule__batch_size=1)


@pytest.mark.parametrize(("accumulate", "workers"), [(4, 1), (2, 2), (1, 4)])
def test_accumulation_and_workers_make_micro_batches_of_one(case: Case, accumulate: int, workers: int) -> None:
    with pytest.raises(ConfigError, match=rf"schedule\.accumulate={accumulate}: .* \({workers} in all\)"):
        case.check(head__norm="bn", schedule__batch_size=4, schedule__accumulate=accumulate, workers=workers)


def test_synchronised_norms_see_the_images_of_all_workers(case: Case) -> None:
    case.check(head__norm="sync_bn", schedule__batch_size=2, workers=2)
    with pytest.raises(ConfigError, match="sync_bn"):
        case.check(schedule__batch_size=2, schedule__accumulate=2, workers=1)


def test_backbone_and_pyramid_are_judged_by_the_levels_of_their_norms(case: Case) -> None:
    for part in ("backbone", "fpn"):
        case.check({f"{part}__norm": "bn"})
    case.values["data"]["synthetic"] |= {"image_size": 32, "object_size": [8, 20]}
    for part, off in (("backbone", "frozen_bn"), ("fpn", "none")):
        case.check(backbone__norm="frozen_bn", fpn__norm="none")
        with pytest.raises(ConfigError, match=rf"model\.{part}\.norm=bn has no variance .* P5 \(stride 32\)"):
            case.check({f"{part}__norm": "bn"})
        case.check({f"{part}__norm": off})


def test_a_frozen_backbone_keeps_its_statistics(case: Case) -> None:
    case.values["data"]["synthetic"] |= {"image_size": 32, "object_size": [8, 20]}
    case.check(backbone__norm="bn", backbone__frozen_stages=5)


def test_the_shortest_side_of_training_counts(case: Case) -> None:
    case.values["data"] |= {"short_sides": [64, 256], "long_side": 512}
    with pytest.raises(ConfigError, match="has no variance"):
        case.check(head__norm="bn")
    case.values["data"] |= {"short_sides": [160, 256]}
    case.check(head__norm="bn")
