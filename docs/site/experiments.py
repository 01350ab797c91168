"""Make the page of every experiment from the headers of conf/experiment/, in the groups of docs/experiments.md."""

import re
from collections.abc import Iterator
from pathlib import Path

from docs.site.documents import DOCS, ROOT
from orchestration.cli.experiment_header import ExperimentHeader, read_header

FOLDER = ROOT / "conf" / "experiment"
INTRODUCTION = """# Every experiment

The header of each file of `conf/experiment/`: its claim, the papers' numbers, and what it costs. Costs are those of the
built-in default, drawn shapes on a few processors, unless another setting is named; for yours add `dry_run=true`.
What arms, factors and seeds are, and how to run one at a paper's size, is in [Experiments](experiments.md).
"""


def read_experiment(file: Path) -> ExperimentHeader:
    """Return the header of a file; ValueError where a part is missing."""
    header = read_header(file)
    missing = [name for name in ("command", "claim", "cost") if not getattr(header, name)]
    if missing:
        raise ValueError(f"{file}: its header has no {', '.join(missing)}")
    return header


def read_experiments() -> dict[str, ExperimentHeader]:
    """Return the headers of all files, by name."""
    return {file.stem: read_experiment(file) for file in sorted(FOLDER.glob("*.yaml"))}


def question_groups() -> Iterator[tuple[str, list[str]]]:
    """Yield the rows of the table of docs/experiments.md: a question, and the names of its experiments."""
    for line in (DOCS / "experiments.md").read_text(encoding="utf-8").splitlines():
        cells = line.strip("|").split(" | ")
        if line.startswith("| ") and len(cells) == 2 and "`" in cells[1] and "_" in cells[1] + cells[0] + "_":
            names = [name for name in re.findall(r"`(\w+)`", cells[1]) if (FOLDER / f"{name}.yaml").is_file()]
            if names:
                # Links of the table lead to chapters of that document.
                yield re.sub(r" \(\[[^)]*\)\)|\s*\[[^]]*\]\([^)]*\)", "", cells[0]).strip(), names


def experiments_page() -> str:
    """Return the page: a heading for each question, below it its experiments."""
    experiments = read_experiments()
    groups = list(question_groups())
    listed = {name for _, names in groups for name in names}
    others = [name for name in experiments if name not in listed]
    parts = [INTRODUCTION]
    for question, names in [*groups, *([("others", others)] if others else [])]:
        parts.append(f"## {question[0].upper()}{question[1:]}\n")
        parts += [_section(name, experiments[name]) for name in names]
    return "\n".join(parts)


def _section(name: str, experiment: ExperimentHeader) -> str:
    command = "\n".join(f"    {line}" for line in experiment.command.splitlines())
    papers = f"Papers\n:   {_escaped(experiment.papers)}\n\n" if experiment.papers else ""
    return f"### {name}\n\n{_escaped(experiment.claim)}\n\n{command}\n\n{papers}Cost\n:   {_escaped(experiment.cost)}\n"


def _escaped(text: str) -> str:
    """Return text as Markdown that shows it as it is."""
    return re.sub(r"([\\`*_\[\]])", r"\\\1", text).replace("<", "&lt;")
