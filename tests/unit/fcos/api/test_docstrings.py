"""The examples in the docstrings of `import fcos` run and give what they show."""

import doctest
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fcos
from tests.helpers.data.labelled_folders import box, image, write_folder
from tests.helpers.data.tiny_changes import tiny_changes
from tests.helpers.detections.exported_files import untyped_tracing

# In an order in which each finds what those before it have made.
FUNCTIONS = (
    "configure", "convert", "inspect", "train", "evaluate", "predict", "draw", "draw_assignment", "export", "load",
)  # fmt: skip


def test_every_public_function_has_an_example() -> None:
    functions = {name for name in fcos.__all__ if name[0].islower()}
    assert functions == set(FUNCTIONS)
    assert [name for name in FUNCTIONS if ">>> " not in getattr(fcos, name).__doc__] == []


def test_examples_give_what_they_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    labelled = write_folder(tmp_path / "labelled", "yolo", [image(f"{name}.png", box()) for name in "abcd"])
    names: dict[str, Any] = {"fcos": fcos, "np": np, "folder": tmp_path / "run", "labelled": labelled}
    failures: dict[str, str] = {}
    for function in FUNCTIONS:
        if function == "inspect":
            # Of the example of `configure` a smaller one, which trains in a second.
            names["config"] = fcos.configure(changes=tiny_changes(tmp_path / "cache"))
        example = doctest.DocTestParser().get_doctest(getattr(fcos, function).__doc__, names, function, None, 0)
        written: list[str] = []
        # Sides are symbols in a trace, which the shape checks of tests refuse.
        with untyped_tracing() if function == "export" else nullcontext():
            doctest.DocTestRunner().run(example, out=written.append, clear_globs=False)
        names |= example.globs
        if function == "train":
            names["detector"] = names["training"].detector
        if written:
            failures[function] = "".join(written)
    assert failures == {}, "\n".join(failures.values())
