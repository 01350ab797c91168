"""The commands of python -m fcos: help without torch, and one line for a mistake."""

import subprocess
import sys

import pytest

from fcos.__main__ import COMMANDS, main


@pytest.mark.parametrize("command", [module.__name__.split(".")[-1].replace("_", "-") for module in COMMANDS])
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert f" {command} " in capsys.readouterr().out


@pytest.mark.ray
def test_help_imports_no_torch() -> None:
    code = "import sys; from fcos.__main__ import main\ntry: main(['--help'])\nfinally: print('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0 and result.stdout.endswith("False\n")
