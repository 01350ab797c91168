"""A checkpoint is found at the paths that people give, and the message names what else is there."""

from pathlib import Path

import pytest

from fcos.storage.checkpoint_folder import CheckpointError
from fcos.weights.find import find_checkpoint


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere: no such folder or file$"):
        find_checkpoint(tmp_path / "nowhere")


def test_the_folder_of_a_sweep_names_its_trainings(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no checkpoint .* nor do its checkpoints$"):
        find_checkpoint(tmp_path)
    for name in ("b1", "a2"):
        (tmp_path / "trials" / name / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match=r"name one of its trainings: \S+/trials/a2, \S+/trials/b1$"):
        find_checkpoint(tmp_path)
