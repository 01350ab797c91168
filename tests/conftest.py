"""What all tests share: one thread, and the folder of real data where there is one."""

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets; tests that need it are skipped where it is absent."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("FCOS_LAB_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"needs the real data of {folder} (or of FCOS_LAB_DATA)")
    return folder
