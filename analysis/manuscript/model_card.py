"""A model card for the best arm of a sweep, with metadata as Hugging Face's hub reads them (model-index)."""

from dataclasses import dataclass

from analysis.formatting import (
    MISSING,
    format_count,
    format_mean,
    format_number,
    is_percentage,
    join_words,
    shorten_metric,
)
from analysis.manuscript.collect import SweepFacts
from analysis.manuscript.commands import quote_archive, quote_word
from analysis.manuscript.model_index import make_metadata_text
from analysis.manuscript.sentences.settings import SettingTexts
from analysis.manuscript.sentences.setup import describe_environment, describe_setup
from analysis.manuscript.statements import Citations, Section, Statement, render_bullets, render_paragraph, render_runs
from analysis.render.tables import escape_markdown
from analysis.report_json.schema import SummaryRecord
from fcos.metrics import better_end


@dataclass(frozen=True)
class BestArm:
    """The arm with the best mean in the first metric. verdict: on it, "" for the baseline or without one."""

    name: str
    summaries: tuple[SummaryRecord, ...]
    verdict: str


def choose_best_arm(facts: SweepFacts) -> BestArm:
    """Return the arm whose mean is best; of equal means the first, of a metric without a better end the highest."""
    of_metric = [each for each in facts.record.summaries if each.metric == facts.metric and each.mean is not None]
    sign = -1.0 if better_end(facts.metric) == "min" else 1.0
    best = max(of_metric, key=lambda each: sign * (each.mean or 0.0)).arm
    verdict = next((each.text for each in facts.record.verdicts if each.arm == best), "")
    return BestArm(best, tuple(each for each in facts.record.summaries if each.arm == best), verdict)


def render_model_card(facts: SweepFacts, license: str, file: str, citations: Citations) -> str:
    """Return a model card. license: of the weights, "" where it is not given."""
    best = choose_best_arm(facts)
    settings = SettingTexts(tuple(trial for trial in facts.finished if trial.arm == best.name))
    setup = describe_setup(facts, settings)
    title = escape_markdown(f"{facts.sweep.name}: {best.name}")
    parts = [
        f"# {title}",
        render_paragraph(_introduce(facts, best), file, citations),
        *_render_use(facts),
        "## Model\n\n" + render_paragraph(setup.model, file, citations),
        "## Training data\n\n" + render_paragraph(setup.data, file, citations),
        "## Training\n\n" + render_paragraph(setup.training, file, citations),
        "## Results\n\n" + _render_results(facts, best, file, citations),
        "## Limits\n\n" + "\n".join(render_bullets(_describe_limits(facts, best, settings, license), file, citations)),
        "## Reproduce\n\n" + _render_reproduction(facts, best),
        "## Environment\n\n" + "\n".join(render_bullets(describe_environment(facts), file, citations)),
    ]
    metadata = make_metadata_text(facts, best.name, license)
    return f"---\n{metadata}---\n\n" + "\n\n".join(parts) + "\n" + render_runs(file, citations)


def _introduce(facts: SweepFacts, best: BestArm) -> Section:
    runs = facts.runs_of(best.name)
    count = len([each for each in facts.record.summaries if each.metric == facts.metric])
    text = (
        f"An FCOS detector: the arm {best.name}, which has the best mean {shorten_metric(facts.metric)} of "
        f"{format_count(count, 'arm')} of the sweep {facts.sweep.name}."
    )
    compared = f"Compared with the baseline: {best.verdict}." if best.verdict else "It is the baseline itself."
    if not facts.record.verdicts or facts.record.factorial is not None:
        compared = "Whether it is better than any other arm was not tested."
    statements = (Statement(text, facts.finished_runs), Statement(compared, facts.finished_runs))
    trained = f"It was trained {len(runs)} times; weights that come with this card are of one of these: name its seed."
    one = "It was trained once."
    return Section("Introduction", (*statements, Statement(trained if len(runs) > 1 else one, runs)))


def _render_use(facts: SweepFacts) -> list[str]:
    drawn = all(trial.provenance.data == "synthetic" for trial in facts.finished)
    use = (
        "Comparison of variants of a detector on drawn shapes. It detects nothing in photographs."
        if drawn
        else "Detection of the classes of its training data in images like them, and comparison with other variants."
    )
    other = "It was tested on the validation images below alone; any other use has to be tested first."
    return [f"## Intended use\n\n{use} {other}"]


def _render_results(facts: SweepFacts, best: BestArm, file: str, citations: Citations) -> str:
    """Return a table of means and spreads by metric, and one of all seeds with run and weights."""
    lines = ["| metric | n | mean ± sd | lowest | highest | runs |", "|:---|---:|---:|---:|---:|:---|"]
    values = facts.document.final_values
    runs = facts.runs_of(best.name)
    for summary in best.summaries:
        metric = summary.metric
        own = values.loc[(values["metric"] == metric) & (values["arm"] == best.name), "value"].dropna()
        mean = _format_mean(summary)
        label = citations.cite(file, f"{best.name} {metric}", mean, runs, summary.mean)
        citations.cite(file, f"{best.name} {metric} n", str(summary.n), runs, summary.n)
        ends = [format_number(float(own.min()), metric), format_number(float(own.max()), metric)] if len(own) else []
        for end, value in zip(ends, (own.min(), own.max()), strict=False):
            citations.cite(file, f"{best.name} {metric}", end, runs, float(value))
        name = escape_markdown(_name_metric(metric))
        lines.append(f"| {name} | {summary.n} | {mean} | {' | '.join(ends or [MISSING] * 2)} | {label} |")
    note = "± is one sample standard deviation over seeds."
    if all(summary.n < 2 for summary in best.summaries):
        note = "One seed: there is no spread."
    return "\n".join([*lines, "", note, "", *_render_seeds(facts, best, file, citations)])


def _render_seeds(facts: SweepFacts, best: BestArm, file: str, citations: Citations) -> list[str]:
    name = escape_markdown(shorten_metric(facts.metric))
    lines = [f"| seed | {name} | run | SHA-256 of its checkpoint |", "|---:|---:|:---|:---|"]
    values = facts.document.final_values
    of_metric = values[values["metric"] == facts.metric].set_index("run_id")["value"]
    for trial in sorted(facts.finished, key=lambda trial: trial.seed):
        if trial.arm == best.name:
            value = float(of_metric.get(trial.run_id, float("nan")))
            text = format_number(value, facts.metric)
            citations.cite(file, f"{trial.label} {facts.metric}", text, (trial.run_id,), value)
            weights = trial.provenance.checkpoint_sha256 or "not recorded"
            lines.append(f"| {trial.seed} | {text} | {trial.run_id} | {weights} |")
    return lines


def _name_metric(metric: str) -> str:
    return f"{shorten_metric(metric)}{', in percent' if is_percentage(metric) else ''}"


def _format_mean(summary: SummaryRecord) -> str:
    nan = float("nan")
    mean = nan if summary.mean is None else summary.mean
    return format_mean(mean, nan if summary.deviation is None else summary.deviation, summary.metric)


def _describe_limits(facts: SweepFacts, best: BestArm, settings: SettingTexts, license: str) -> Section:
    """Return what the numbers do not show, notes of the report, and what is not known of the weights."""
    runs = facts.finished_runs
    content = facts.document.content
    # Notes of the content are on what a page can show of the store.
    notes = [note for note in facts.document.notes if note not in content.notes]
    statements = [Statement(facts.clean(line), runs) for line in (*content.limitations, *notes)]
    if any(each.n == 1 for each in best.summaries):
        statements.append(Statement("One seed was trained: how much of the result is chance is not known.", runs))
    if len({each.arm for each in facts.record.summaries}) > 1:
        chosen = "The arm was chosen by these numbers: with other seeds and images its mean is likely to be lower."
        statements.append(Statement(chosen, runs))
    if settings.missing:
        statements.append(Statement(f"Not recorded: {join_words(list(settings.missing))}.", runs))
    known = f"License of the weights: {license}." if license else "The license of weights and data is not recorded."
    statements.append(Statement(known, runs))
    return Section("Limits", tuple(statements))


def _render_reproduction(facts: SweepFacts, best: BestArm) -> str:
    """Return the commands that train a seed again from the recorded configuration."""
    name = facts.sweep.name
    seed = min(trial.seed for trial in facts.finished if trial.arm == best.name)
    words = quote_word(name), quote_archive(name), quote_word(best.name)
    return (
        f"    python analysis/publish.py {words[0]}\n"
        f"    python orchestration/retrain.py {words[1]} --arm {words[2]} --seed {seed}\n\n"
        "The second command trains the recorded configuration with one seed and compares all metrics."
    )
