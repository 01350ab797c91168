"""Weights files are read as tensors alone and matched by name and shape."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from fcos.errors import ConfigError
from fcos.model.weights_file import match, read_tensors

TENSORS = {"stem.weight": torch.ones(2, 3), "stages.0.bias": torch.zeros(4)}


def test_every_kind_of_file_gives_the_same_tensors(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "a.safetensors")
    torch.save(TENSORS, tmp_path / "b.pth")
    torch.save(
        {"state_dict": {f"module.{name}": value for name, value in TENSORS.items()}, "epoch": 3}, tmp_path / "c.pt"
    )
    for file in sorted(tmp_path.iterdir()):
        found = read_tensors(file)
        assert found.keys() == TENSORS.keys(), file
        assert all(torch.equal(found[name], value) for name, value in TENSORS.items())


class Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("never",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (Trap(), "cannot be read as a state dict of tensors"),
        ({"a": 1}, "holds no state dict"),
        (torch.zeros(1), "holds no state dict"),
    ],
)
def test_a_file_that_holds_anything_else_is_refused(content: object, message: str, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "file.pth")
    with pytest.raises(ConfigError, match=rf"file\.pth: {message}"):
        read_tensors(tmp_path / "file.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_missing_or_damaged_file_is_refused_in_one_line(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        read_tensors(tmp_path / f"none{suffix}")
    (tmp_path / f"half{suffix}").write_bytes(b"half a file")
    with pytest.raises(ConfigError, match=r"cannot be read as a state dict.*") as error:
        read_tensors(tmp_path / f"half{suffix}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("prefix", ["", "model.", "backbone.", "backbone.body."])
def test_names_match_behind_a_prefix_and_across_dots_and_underlines(prefix: str) -> None:
    wanted = {"stem.weight": torch.zeros(2, 3), "stages_0.bias": torch.zeros(4)}
    found = match(wanted, {f"{prefix}{name}": value for name, value in TENSORS.items()})
    assert found.tensors.keys() == wanted.keys()
    assert found.missing == found.left_out == ()


def test_other_shapes_and_names_are_listed_on_both_sides() -> None:
    wanted: dict[str, Tensor] = {**TENSORS, "new.weight": torch.zeros(1), "bn.num_batches_tracked": torch.zeros(())}
    found = match(wanted, {**TENSORS, "stem.weight": torch.zeros(5, 3), "fc.weight": torch.zeros(7)})
    assert found.tensors.keys() == {"stages.0.bias"}
    assert found.missing == ("stem.weight", "new.weight")
    assert found.left_out == ("stem.weight", "fc.weight")


def test_a_file_of_text_is_refused_without_the_advice_to_unpickle_it(tmp_path: Path) -> None:
    (tmp_path / "weights.pth").write_text("no weights")
    with pytest.raises(ConfigError, match=r"weights\.pth: .*never unpickled") as caught:
        read_tensors(tmp_path / "weights.pth")
    assert "weights_only" not in str(caught.value)
