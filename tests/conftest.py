"""What all tests share: one thread, and the folder of real data where there is one."""

import os
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import settings
from omegaconf import OmegaConf

from fcos.installation import conf_folder

CONF = conf_folder()
# Tests of one part each, without a tracking store; all others are marked `ray`, as are those here that start a process.
INNER_LOOP = Path(__file__).parent / "unit"

torch.set_num_threads(1)
# How long an example takes says how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Import no tests of other folders where -m asks for the inner loop alone; none of them would be kept."""
    outside = collection_path.parent == INNER_LOOP.parent and collection_path.is_dir() and collection_path != INNER_LOOP
    return True if outside and config.getoption("markexpr") == "not ray" else None


@pytest.hookimpl(tryfirst=True)  # before -m is applied
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out slow tests that -m does not ask for; begin with long ones, so that none is left alone at the end."""
    for item in items:
        if not item.path.is_relative_to(INNER_LOOP):
            item.add_marker("ray")
    if "slow" not in str(config.getoption("markexpr")):
        slow = [item for item in items if item.get_closest_marker("slow")]
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> tuple[bool, float]:
    slow = item.get_closest_marker("slow")
    return item.get_closest_marker("alone") is None, 0.0 if slow is None else -slow.kwargs.get("minutes", 0.5)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is absent."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FCOS_LAB_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"needs the real data of {folder} (or of FCOS_LAB_DATA)")
    return folder


@cache
def _parse_group(group: str, option: str) -> dict[str, Any]:
    values: Any = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{option}.yaml"))
    assert isinstance(values, dict)
    return values


def _read_group(group: str, option: str) -> dict[str, Any]:
    return deepcopy(_parse_group(group, option))


@pytest.fixture(scope="session")
def read_group() -> Callable[[str, str], dict[str, Any]]:
    """Reads an option of a config group as plain values."""
    return _read_group


def _make_tiny(cache_dir: Path) -> dict[str, Any]:
    values: dict[str, Any] = {
        "model": _read_group("model", "fcos_small"),
        "data": _read_group("data", "synthetic"),
        "schedule": _read_group("schedule", "embedded"),
        "seed": 0,
    }
    values["model"]["backbone"]["widths"] = [16, 16, 16, 16, 16]
    values["model"]["fpn"]["channels"] = 16
    values["model"]["head"]["num_convs"] = 1
    values["data"]["synthetic"] |= {
        "image_size": 64,
        "train_images": 24,
        "val_images": 6,
        "object_size": [10, 40],
    }
    values["data"]["cache_dir"] = str(cache_dir)
    values["schedule"] |= {
        "steps": 6,
        "warmup_steps": 2,
        "log_every": 2,
        "eval_every": 3,
        "checkpoint_every": 3,
    }
    return values


@pytest.fixture
def tiny_values(tmp_path: Path) -> dict[str, Any]:
    """A configuration that trains in a second: the embedded default, smaller in every way."""
    return _make_tiny(tmp_path / "cache")


@pytest.fixture(scope="module")
def module_tiny_values(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The same for trainings that tests of a module share, which leave it as it is; with data of its own."""
    return _make_tiny(tmp_path_factory.mktemp("tiny") / "cache")
