"""Make and write the files for a paper: the same store gives the same bytes."""

from pathlib import Path

from analysis.manuscript.checklist import FILE as CHECKLIST
from analysis.manuscript.checklist import render_checklist
from analysis.manuscript.collect import ManuscriptFacts
from analysis.manuscript.costs import to_csv
from analysis.manuscript.latex import TABLE, render_standalone, render_table
from analysis.manuscript.methods import LATEX, MARKDOWN, render_methods, render_methods_latex
from analysis.manuscript.model_card import render_model_card
from analysis.manuscript.results_table import make_block
from analysis.manuscript.statements import Citations
from analysis.report import make_folder_name

STANDALONE = "table_standalone.tex"
MODEL_CARD = "model_card"
# Longest name of a default folder.
MOST_CHARACTERS = 80


def make_files(facts: ManuscriptFacts, license: str) -> dict[str, str]:
    """Return the text of each file by its name. license: of weights, "" where it is not given."""
    citations = Citations()
    table = render_table(tuple(make_block(sweep) for sweep in facts.sweeps), citations)
    files = {
        TABLE: table,
        STANDALONE: render_standalone(table),
        MARKDOWN: render_methods(facts.sweeps, citations),
        LATEX: render_methods_latex(facts.sweeps, citations),
        CHECKLIST: render_checklist(facts, citations),
    }
    for sweep, name in zip(facts.sweeps, name_cards(facts), strict=True):
        files[name] = render_model_card(sweep, license, name, citations)
    return {
        **files,
        "numbers.csv": citations.numbers_csv(),
        "runs.csv": citations.runs_csv(facts.runs),
        "compute.csv": to_csv(facts.costs),
    }


def name_cards(facts: ManuscriptFacts) -> list[str]:
    """Return the file of each sweep's model card: model_card.md, or one with its name where there are several."""
    if len(facts.sweeps) == 1:
        return [f"{MODEL_CARD}.md"]
    names: list[str] = []
    for sweep in facts.sweeps:
        name = f"{MODEL_CARD}_{make_folder_name(sweep.sweep.name)}.md"
        # Of two sweeps with one name the id distinguishes them.
        names.append(name if name not in names else name.replace(".md", f"_{sweep.sweep.run_id[:8]}.md"))
    return names


def choose_folder(facts: ManuscriptFacts) -> Path:
    """Return where files go by default: beside the report of the one sweep, or a folder with the names of several."""
    names = "_".join(make_folder_name(sweep.sweep.name) for sweep in facts.sweeps)
    return Path("outputs") / names[:MOST_CHARACTERS] / "paper"


def write_files(files: dict[str, str], folder: Path) -> None:
    """Write all files into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8", newline="\n")
