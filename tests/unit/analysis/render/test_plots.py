"""Figures and pictures: the same input gives the same bytes, and hostile content stays inert."""

import base64
import io
import math

import pandas as pd
import pytest
from PIL import Image

from analysis.render.plots import DARK, LIGHT, plot_learning_curves, plot_paired_differences
from analysis.sections.gallery import LONGEST_SIDE, encode_picture
from analysis.stats.comparison import Comparison
from fcos.statistics.holm import ArmTest


@pytest.fixture
def curves() -> pd.DataFrame:
    rows = [
        {"arm": arm, "seed": seed, "status": "FINISHED", "step": step, "value": step * 1e-4 + 0.01 * seed}
        for arm in ("none", "_$x$<b>")
        for seed in (0, 1)
        for step in (100, 200)
    ]
    return pd.DataFrame(rows)


def test_a_figure_is_deterministic_and_follows_its_theme(curves: pd.DataFrame) -> None:
    first = plot_learning_curves(curves, "val/AP", ["none", "_$x$<b>"], LIGHT)
    assert first == plot_learning_curves(curves, "val/AP", ["none", "_$x$<b>"], LIGHT)
    assert first != plot_learning_curves(curves, "val/AP", ["none", "_$x$<b>"], DARK)
    assert b"<b>" not in first


def test_an_arm_without_points_or_without_a_finished_trial_is_no_error(curves: pd.DataFrame) -> None:
    curves["status"] = "RUNNING"
    assert plot_learning_curves(curves, "val/AP", ["none", "absent"], LIGHT).startswith(b"<?xml")


def test_paired_differences_are_plotted_with_and_without_an_interval() -> None:
    differences = pd.DataFrame({"arm": ["a", "a", "b"], "seed": [0, 1, 0], "difference": [0.01, 0.02, -0.01]})
    bounded, unbounded = (0.005, 0.025), (-math.inf, math.inf)
    comparisons = [
        Comparison("val/AP", arm, ArmTest(2, *ends, 0.05, 0.5, 0.5, False), difference=difference)
        for arm, difference, ends in (("a", 0.015, bounded), ("b", -0.01, unbounded))
    ]
    figure = plot_paired_differences(differences, comparisons, {"a": {"v1 Table 4": 0.036}}, "val/AP", "none", LIGHT)
    assert figure.startswith(b"<?xml")
    assert figure != plot_paired_differences(differences, comparisons, {}, "val/AP", "none", LIGHT)


def decode(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/png;base64,"))))


def encode(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def test_a_large_picture_is_scaled_down_and_a_small_one_kept() -> None:
    large, small = (encode_picture(encode(Image.new("RGB", size))) for size in ((1200, 600), (100, 50)))
    assert large is not None
    assert small is not None
    assert decode(large).size == (LONGEST_SIDE, LONGEST_SIDE // 2)
    assert decode(small).size == (100, 50)


@pytest.mark.parametrize("content", [b"", b"<svg onload='alert(1)'/>", b"\x89PNG\r\n\x1a\nbroken"])
def test_a_file_that_is_no_picture_is_refused(content: bytes) -> None:
    assert encode_picture(content) is None


def test_a_truncated_picture_is_refused() -> None:
    whole = encode(Image.effect_noise((64, 64), 50))
    assert encode_picture(whole[: len(whole) // 2]) is None


def test_only_png_is_read() -> None:
    assert encode_picture(encode(Image.new("RGB", (8, 8)), "GIF")) is None
