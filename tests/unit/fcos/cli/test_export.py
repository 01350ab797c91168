"""python -m fcos export: where no file can be written, that is said before a checkpoint is read."""

from pathlib import Path

import pytest

from fcos.__main__ import main


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (".", "--output .: is a folder; give the name of a file in it"),
        ("..", "--output ..: is a folder; give the name of a file in it"),
        ("/", "--output /: is a folder; give the name of a file in it"),
        ("taken", "--output taken: taken.onnx is a folder; give another name"),
        ("taken.onnx", "--output taken.onnx: taken.onnx is a folder; give another name"),
        ("file/inner/detector", "--output file/inner/detector: file is a file, and no folder"),
    ],
)
def test_a_path_where_no_file_can_be_is_refused_first(
    output: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken.onnx").mkdir()
    (tmp_path / "file").touch()
    assert main(["export", "no such run", "--onnx", "--torch-export", "--output", output]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
