"""Render explorer.html: one file, whose script is allowed by its hash and reads data that cannot end its element."""

import base64
import hashlib
from collections.abc import Callable
from importlib.resources import files
from typing import Final

from analysis.explorer.build import build_explorer
from analysis.explorer.page_data import to_script_json
from analysis.explorer.pictures import make_pictures
from analysis.reader.sweep import Sweep
from analysis.reader.sweep_evaluations import SweepEvaluations
from analysis.render.templates import make_environment
from analysis.sections.coverage import is_coverage
from analysis.sections.document import Document

# Bytes of the page.
MAX_BYTES: Final = 5_000_000
SCRIPTS: Final = ("explorer_tables.js", "explorer_images.js")


def has_explorer(sweep: Sweep) -> bool:
    """Return whether a sweep compares trainings: not a count, a search or a noise floor."""
    experiment = sweep.experiment
    return experiment.search is None and not experiment.is_noise_floor and not is_coverage(sweep)


def make_explorer_page(
    document: Document,
    evaluations: SweepEvaluations,
    show_progress: Callable[[int, int], None] = lambda done, total: None,
    max_bytes: int = MAX_BYTES,
) -> str:
    """Return the text of explorer.html with as many pictures as fit; reads the store for evaluations.

    show_progress: how many of how many trials are read.
    """
    shown, values = document.content.shown_arms, document.final_values
    explorer = build_explorer(
        document.sweep.of_arms(shown), evaluations, values[values["arm"].isin(shown)], show_progress
    )
    script = "\n".join(files("analysis").joinpath("templates", name).read_text("utf-8") for name in SCRIPTS)
    context = {"explorer": explorer, "script": script, "script_hash": make_script_hash(script)}
    template = make_environment(True).get_template("explorer.html.j2")
    notes = explorer.notes
    page = template.render(context, notes=notes, data=to_script_json(explorer.data))
    if explorer.pictures is None:
        return page
    # For the note below, and commas.
    room = max_bytes - len(page.encode()) - 1000
    pictures = make_pictures(explorer.pictures, room)
    count = len(explorer.pictures.runs.evaluations.truth)
    if len(pictures) < count:
        notes = (*notes, f"{len(pictures)} of {count} images are shown, those that changed most.")
    data = explorer.data.model_copy(update={"pictures": pictures})
    return template.render(context, notes=notes, data=to_script_json(data))


def make_script_hash(script: str) -> str:
    """Return the source expression by which a Content-Security-Policy allows a script."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"
