"""Figures of reports, of which most tests read no more than that they are there; to draw them takes longest."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest


@contextmanager
def stand_in_figures() -> Iterator[None]:
    """Save SVG figures as a few bytes that follow from data and colours of their lines."""
    from matplotlib.figure import Figure

    draw = Figure.savefig

    def save(figure: Figure, target: Any, *, format: str | None = None, **options: Any) -> None:
        if format != "svg":
            draw(figure, target, format=format, **options)
            return
        digest = hashlib.sha256()
        for line in (line for axes in figure.axes for line in axes.get_lines()):
            digest.update(f"{line.get_color()} ".encode() + np.asarray(line.get_xydata()).tobytes())
        target.write(f"<svg><desc>{digest.hexdigest()}</desc></svg>".encode())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", save)
        yield
