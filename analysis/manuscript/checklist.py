"""Answers to the questions of the NeurIPS paper checklist that records of experiments can answer."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from analysis.formatting import format_count, join_words
from analysis.manuscript.collect import ManuscriptFacts, SweepFacts
from analysis.manuscript.commands import quote_archive, quote_word
from analysis.manuscript.sentences.compute import describe_costs, describe_machines, format_amount
from analysis.manuscript.sentences.error_bars import describe_error_bars
from analysis.manuscript.sentences.settings import SettingTexts
from analysis.manuscript.sentences.setup import describe_setup
from analysis.manuscript.statements import Citations, Section, Statement, render_bullets, render_runs
from analysis.render.tables import escape_markdown
from fcos.metrics import MEMORY
from fcos.storage.store_conventions import Artifact

FILE = "checklist.md"
NOT_RECORDED = "Not recorded:"
Reply = Literal["Yes", "Partly", "No", "To be completed by the authors"]
INTRODUCTION = (
    "Questions 4 to 8 of the NeurIPS paper checklist, in other words than its own, with replies from the tracking "
    "store. The other questions are the authors'."
)


@dataclass(frozen=True)
class Answer:
    """A question, the reply to it, and the sentences that it rests on: a section for each sweep, and common ones."""

    title: str
    question: str
    reply: Reply
    sections: tuple[Section, ...]
    common: tuple[Statement, ...] = ()


def render_checklist(facts: ManuscriptFacts, citations: Citations) -> str:
    """Return checklist.md."""
    names = join_words([sweep.sweep.name for sweep in facts.sweeps])
    parts = [f"# NeurIPS paper checklist: {names}\n\n{INTRODUCTION}\n"]
    parts += [_render_answer(answer, citations) for answer in answer_questions(facts)]
    return "\n".join(parts) + render_runs(FILE, citations)


def _render_answer(answer: Answer, citations: Citations) -> str:
    """Return a question with its answer; sweeps have headings where there are several."""
    blocks = [f"## {answer.title}", answer.question, f"**{answer.reply}.**"]
    for section in answer.sections:
        if len(answer.sections) > 1:
            blocks.append(f"### {escape_markdown(section.title)}")
        blocks.append("\n".join(render_bullets(section, FILE, citations)))
    if answer.common:
        if len(answer.sections) > 1:
            blocks.append("### All of them")
        blocks.append("\n".join(render_bullets(Section(answer.title, answer.common), FILE, citations)))
    return "\n\n".join(blocks) + "\n"


def answer_questions(facts: ManuscriptFacts) -> list[Answer]:
    """Return the answers, in the order of the checklist."""
    return [
        _answer_reproducibility(facts),
        _answer_access(facts),
        _answer_details(facts),
        _answer_significance(facts),
        _answer_compute(facts),
    ]


def _by_sweep(facts: ManuscriptFacts, describe: Callable[[SweepFacts], Iterable[Statement]]) -> tuple[Section, ...]:
    """Return a section for each sweep with what `describe` gives for it."""
    return tuple(Section(sweep.sweep.name, tuple(describe(sweep))) for sweep in facts.sweeps)


def _answer_reproducibility(facts: ManuscriptFacts) -> Answer:
    complete = all(_is_reproducible(sweep) for sweep in facts.sweeps)
    return Answer(
        "4. Reproducibility of the results",
        "Does the paper have all that is needed to obtain its main results again, even without its code and data?",
        "Yes" if complete else "Partly",
        _by_sweep(facts, _describe_records),
    )


def _is_reproducible(facts: SweepFacts) -> bool:
    origins = [trial.provenance for trial in facts.finished]
    return all(each.git_commit not in ("", "unknown") and not each.git_dirty and each.data_digest for each in origins)


def _describe_records(facts: SweepFacts) -> Iterator[Statement]:
    """Yield what each run records of how it can be done again, and what some run lacks."""
    runs, trials = facts.finished_runs, facts.finished
    recorded = {
        "configuration": all(trial.params for trial in trials),
        "seed": True,
        "identity": all(trial.provenance.identity for trial in trials),
        "package versions": all(Artifact.VERSIONS not in each.packages for each in facts.document.versions),
    }
    kept = join_words([noun for noun, is_recorded in recorded.items() if is_recorded])
    yield Statement(f"{format_count(len(trials), 'finished run')}, each with its {kept}.", runs)
    commits = sorted({trial.provenance.git_commit for trial in trials} - {"", "unknown"})
    if commits:
        yield Statement(f"Commit of the code: {join_words(commits)}.", runs)
    digests = sorted({trial.provenance.data_digest for trial in trials} - {""})
    if digests:
        yield Statement(f"SHA-256 of annotations and images: {join_words(digests)}.", runs)
    lacking = {
        "no commit": [trial for trial in trials if trial.provenance.git_commit in ("", "unknown")],
        "uncommitted changes to the code": [trial for trial in trials if trial.provenance.git_dirty],
        "no digest of the data": [trial for trial in trials if not trial.provenance.data_digest],
        "no identity": [trial for trial in trials if not trial.provenance.identity],
    }
    for reason, of_reason in lacking.items():
        if of_reason:
            text = f"{format_count(len(of_reason), 'run')} with {reason}."
            yield Statement(text, tuple(trial.run_id for trial in of_reason))
    name = facts.sweep.name
    yield Statement(
        f"An archive of all runs, from which a seed is trained again: python analysis/publish.py {quote_word(name)}, "
        f"then python orchestration/retrain.py {quote_archive(name)}; with the same processor, code, packages and data "
        "its numbers repeat.",
        (facts.sweep.run_id,),
    )


def _answer_access(facts: ManuscriptFacts) -> Answer:
    return Answer(
        "5. Open access to data and code",
        "Are code and data given, with instructions that suffice to obtain the main results?",
        "To be completed by the authors",
        _by_sweep(facts, _describe_access),
        (Statement("Where code and archive are given to readers is not recorded: name the addresses.", ()),),
    )


def _describe_access(facts: SweepFacts) -> Iterator[Statement]:
    names = sorted({trial.provenance.data for trial in facts.finished} - {""})
    text = f"The data set is {join_words(names) or 'not named'}; who may have it is not recorded."
    if names == ["synthetic"]:
        text = "The data are drawn shapes, which the code draws again from a fixed seed."
    yield Statement(text, facts.finished_runs)


def _answer_details(facts: ManuscriptFacts) -> Answer:
    sections = _by_sweep(facts, _describe_settings)
    incomplete = any(each.text.startswith(NOT_RECORDED) for section in sections for each in section.statements)
    return Answer(
        "6. Settings and details of the experiments",
        "Are splits of the data, hyperparameters, how these were chosen, and the optimizer given?",
        "Partly" if incomplete else "Yes",
        sections,
        (Statement("How settings that no arm changes were chosen is not recorded: name it.", ()),),
    )


def _describe_settings(facts: SweepFacts) -> Iterator[Statement]:
    settings = SettingTexts(facts.finished)
    for section in describe_setup(facts, settings).sections:
        yield from section.statements
    if settings.missing:
        yield Statement(f"{NOT_RECORDED} {join_words(list(settings.missing))}.", facts.finished_runs)


def _answer_significance(facts: ManuscriptFacts) -> Answer:
    spreads = [any(summary.n > 1 for summary in sweep.record.summaries) for sweep in facts.sweeps]
    return Answer(
        "7. Statistical significance",
        "Are error bars or other statements on significance given, with what varies behind them, how they are "
        "computed, what they assume, and whether they are one deviation or a 95 % interval?",
        "Yes" if all(spreads) else "Partly" if any(spreads) else "No",
        _by_sweep(facts, describe_error_bars),
    )


def _answer_compute(facts: ManuscriptFacts) -> Answer:
    reported = [cost for cost in facts.costs if cost.group == "reported"]
    recorded = [not math.isnan(cost.seconds) and bool(cost.run.hardware) for cost in reported]
    limits = "compute.csv has every training. Work before this store, and runs deleted from it, are in no sum."
    return Answer(
        "8. Compute",
        "Are machine, memory and time given for each run and in total, and did the whole project take more than is "
        "reported, such as failed and preliminary runs?",
        "Yes" if recorded and all(recorded) else "Partly" if any(recorded) else "No",
        (),
        (
            *describe_machines([cost.run for cost in reported]),
            _describe_memory(facts),
            *describe_costs(facts),
            Statement(limits, ()),
        ),
    )


def _describe_memory(facts: ManuscriptFacts) -> Statement:
    """Return the memory of a GPU that trainings logged."""
    trials = [trial for sweep in facts.sweeps for trial in sweep.finished]
    logged = {trial.run_id: trial.metrics[MEMORY] for trial in trials if MEMORY in trial.metrics}
    if not logged:
        return Statement("Memory of the trainings is not recorded.", tuple(trial.run_id for trial in trials))
    least, most = format_amount(min(logged.values())), format_amount(max(logged.values()))
    return Statement(f"Memory of a GPU ({MEMORY}): {least} to {most} GB.", tuple(logged))
