"""Weights files on this machine are known by their content."""

from pathlib import Path

import pytest

from fcos.errors import ConfigError
from fcos.model.local_weights import check_sha256, file_sha256


def test_other_content_than_planned_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"one")
    planned = file_sha256(file)
    check_sha256(file, planned, "key")
    check_sha256(file, None, "key")
    file.write_bytes(b"two")
    with pytest.raises(ConfigError, match=r"key=.*weights\.pth: holds other weights .* than those of the plan"):
        check_sha256(file, planned, "key")
