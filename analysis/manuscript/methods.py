"""The paragraph on methods: what the store records of each sweep, and what it does not, as Markdown and LaTeX."""

from collections.abc import Sequence

from analysis.formatting import join_words
from analysis.manuscript.collect import SweepFacts
from analysis.manuscript.latex import escape_latex, render_sections
from analysis.manuscript.sentences.design import describe_plan, describe_seeds, describe_statistics
from analysis.manuscript.sentences.settings import SettingTexts
from analysis.manuscript.sentences.setup import describe_environment, describe_setup
from analysis.manuscript.statements import Citations, Section, Statement, render_paragraph, render_runs
from analysis.render.tables import escape_markdown

MARKDOWN, LATEX = "methods.md", "methods.tex"


def describe_methods(facts: SweepFacts) -> list[Section]:
    """Return all sections on a sweep; the last one names what is not recorded."""
    settings = SettingTexts(facts.finished)
    sections = [
        *describe_setup(facts, settings).sections,
        describe_seeds(facts),
        describe_statistics(facts),
        describe_plan(facts),
        describe_environment(facts),
    ]
    if settings.missing:
        text = f"The runs do not record: {join_words(list(settings.missing))}."
        sections.append(Section("Not recorded", (Statement(text, facts.finished_runs),)))
    return [section for section in sections if section.statements]


def render_methods(sweeps: Sequence[SweepFacts], citations: Citations) -> str:
    """Return methods.md."""
    parts = ["# Methods\n"]
    for facts in sweeps:
        parts.append(f"## {escape_markdown(facts.sweep.name)}\n")
        for section in describe_methods(facts):
            parts.append(f"**{section.title}.** {render_paragraph(section, MARKDOWN, citations)}\n")
    return "\n".join(parts) + render_runs(MARKDOWN, citations)


def render_methods_latex(sweeps: Sequence[SweepFacts], citations: Citations) -> str:
    """Return methods.tex, to be put into a paper by \\input."""
    parts = [
        f"\\subsection*{{{escape_latex(facts.sweep.name)}}}\n\n"
        f"{render_sections(describe_methods(facts), LATEX, citations)}"
        for facts in sweeps
    ]
    return "\n".join(["% runs.csv has the runs behind each label (r1, r2, ...).", *parts])
