"""Build report.json from the document of a report."""

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from analysis.formatting import is_percentage
from analysis.reader.sweep import Search, Sweep
from analysis.report_json import schema
from analysis.report_json.comparison_records import PaperRowRecord
from analysis.report_json.comparisons import (
    make_comparison_records,
    make_confirmation_record,
    make_front_records,
    make_other_images_records,
    make_verdict_records,
)
from analysis.report_json.factorial import make_factorial_record
from analysis.report_json.noise import make_noise_record
from analysis.report_json.search_records import ImportanceRecord, PointRecord, SearchRecord
from analysis.sections.document import Document
from analysis.stats.importance import is_unset
from analysis.stats.paired import summarise


def make_report_json(document: Document) -> str:
    """Return the text of report.json."""
    return build_report_record(document).model_dump_json(indent=1) + "\n"


def build_report_record(document: Document) -> schema.ReportRecord:
    """Return every number of a document, unrounded and with its run."""
    sweep, content, values = document.sweep, document.content, document.final_values
    experiment = sweep.experiment
    return schema.ReportRecord(
        sweep=_make_sweep(document),
        experiment=_make_experiment(document),
        metrics=tuple(_make_metrics(values)),
        values=tuple(_make_values(values)),
        summaries=tuple(_make_summaries(values)) if content.kind == "comparison" else (),
        comparisons=tuple(make_comparison_records(content.comparisons)),
        other_images=tuple(make_other_images_records(content.other_images.compared if content.other_images else ())),
        verdicts=tuple(make_verdict_records(content.verdicts)),
        paper_rows=tuple(_make_paper_rows(document)),
        curves=tuple(_make_curves(sweep)),
        search=None if experiment.search is None else _make_search(document, experiment.search),
        coverage=tuple(_make_coverage(document)),
        noise=make_noise_record(content) if content.kind == "noise_floor" else None,
        factorial=None if content.factorial is None else make_factorial_record(content.factorial),
        missing=tuple(schema.MissingRecord(**vars(item)) for item in document.missing),
        provenance=tuple(_make_provenance(sweep)),
        versions=tuple(
            schema.VersionsRecord(trials=item.trials, packages=dict(item.packages)) for item in document.versions
        ),
        legend=content.legend,
        method=content.method,
        limitations=content.limitations,
        findings=content.findings,
        notes=document.notes,
    )


def _make_sweep(document: Document) -> schema.SweepRecord:
    sweep = document.sweep
    return schema.SweepRecord(
        name=sweep.name,
        run_id=sweep.run_id,
        kind=sweep.kind,
        status=sweep.status,
        state=document.state,
        started=sweep.started.isoformat(),
    )


def _make_experiment(document: Document) -> schema.ExperimentRecord:
    experiment = document.sweep.experiment
    return schema.ExperimentRecord(
        name=experiment.name,
        claim=experiment.claim,
        baseline=experiment.baseline,
        arms=tuple(dict.fromkeys(document.final_values["arm"])),
        seeds=tuple(experiment.seeds),
        margin=experiment.margin / 100,
        looks=document.sweep.looks,
    )


def _make_metrics(values: pd.DataFrame) -> Iterator[schema.MetricRecord]:
    for metric in dict.fromkeys(values["metric"]):
        yield schema.MetricRecord(name=metric, unit="fraction" if is_percentage(metric) else "as logged")


def _make_values(values: pd.DataFrame) -> Iterator[schema.ValueRecord]:
    for row in values.to_dict("records"):
        yield schema.ValueRecord(
            metric=row["metric"],
            arm=row["arm"],
            seed=row["seed"],
            value=row["value"],
            step=_to_int(row["step"]),
            run_id=row["run_id"],
            status=row["status"],
            failure=row["failure"],
        )


def _to_int(value: float) -> int | None:
    return None if pd.isna(value) else int(value)


def _make_summaries(values: pd.DataFrame) -> Iterator[schema.SummaryRecord]:
    for row in summarise(values).to_dict("records"):
        yield schema.SummaryRecord(
            metric=row["metric"],
            arm=row["arm"],
            n=row["n"],
            mean=row["mean"],
            deviation=row["deviation"],
            missing_seeds=row["missing"],
        )


def _make_paper_rows(document: Document) -> Iterator[PaperRowRecord]:
    named = document.sweep.experiment.paper
    for row in document.rows:
        yield PaperRowRecord(
            id=row.id,
            arxiv=row.paper,
            table=row.table,
            label=row.label,
            setting=row.setting,
            metrics=dict(row.metrics),
            arms=tuple(arm for arm, ids in named.items() if row.id in ids),
        )


def _make_curves(sweep: Sweep) -> Iterator[schema.CurveRecord]:
    """Yield the histories of the trials that count, as the figures show them."""
    points = sweep.points
    # As lists: a frame for each of the thousands of curves of a large sweep takes most of the time of a report.
    histories: dict[tuple[str, str], list[tuple[int, float]]] = {}
    rows = zip(points["run_id"], points["key"], points["step"], points["value"], strict=True)
    for run_id, metric, step, value in rows:
        histories.setdefault((run_id, metric), []).append((int(step), float(value)))
    for metric in dict.fromkeys(points["key"]):
        for trial in sweep.current:
            if (history := histories.get((trial.run_id, metric))) is not None:
                yield schema.CurveRecord(
                    metric=metric,
                    arm=trial.arm,
                    seed=trial.seed,
                    run_id=trial.run_id,
                    steps=tuple(step for step, _ in history),
                    values=tuple(value for _, value in history),
                )


def _make_search(document: Document, search: Search) -> SearchRecord:
    runs = {trial.arm: trial.run_id for trial in sorted(document.sweep.current, key=lambda trial: -trial.seed)}
    importance = document.content.importance
    return SearchRecord(
        metric=search.metric,
        mode=search.mode,
        trials=search.trials,
        searcher=search.strategy.searcher,
        early_stopping=search.strategy.early_stopping,
        space=search.space,
        points=tuple(_make_point(row, runs, search) for row in document.content.values.to_dict("records")),
        importance=tuple(
            ImportanceRecord(key=str(row["key"]), importance=float(row["importance"]))
            for row in ([] if importance is None else importance.to_dict("records"))
        ),
        confirmation=make_confirmation_record(document.content.confirmation),
        objectives=dict(zip(search.objectives, search.modes, strict=True)) if search.objectives else {},
        front=tuple(make_front_records(document.content.front)),
    )


def _make_point(row: Mapping[Any, Any], runs: Mapping[str, str], search: Search) -> PointRecord:
    return PointRecord(
        trial=row["trial"],
        run_id=runs.get(row["trial"], ""),
        number=row["number"],
        state=row["state"],
        step=_to_int(row["step"]),
        value=row["value"],
        deviation=row["deviation"],
        num_seeds=row["seeds"],
        settings={key: row[key] for key in search.space if not is_unset(row[key])},
    )


def _make_coverage(document: Document) -> Iterator[schema.CoverageRecord]:
    if document.content.kind != "coverage":
        return
    runs: dict[str, str] = {}
    for trial in document.sweep.finished:
        runs.setdefault(trial.arm, trial.run_id)
    for row in document.content.values.to_dict("records"):
        counts = document.content.coverage_counts.get(row["arm"])
        yield schema.CoverageRecord(
            arm=row["arm"],
            run_id=runs.get(row["arm"], ""),
            difference=row["difference"],
            verdict=row["verdict"],
            levels=None if counts is None else tuple(counts.levels),
            assignment=None if counts is None else counts.assignment,
            longest_side=None if counts is None else counts.longest_side,
            metrics={} if counts is None else counts.metrics,
        )


def _make_provenance(sweep: Sweep) -> Iterator[schema.ProvenanceRecord]:
    """Yield a record for each run, without its checkpoint's path: a file for programs is passed on further."""
    for trial in sweep.trials:
        origin = trial.provenance
        yield schema.ProvenanceRecord(
            arm=trial.arm,
            seed=trial.seed,
            status=trial.status,
            run_id=trial.run_id,
            superseded=trial.superseded,
            trained_by=origin.trained_by,
            git_commit=origin.git_commit,
            git_dirty=origin.git_dirty,
            data=origin.data,
            data_digest=origin.data_digest,
            identity=origin.identity,
            hardware=origin.hardware,
            checkpoint_sha256=origin.checkpoint_sha256,
            workers=trial.workers,
            laboratory=origin.laboratory,
            archive=origin.archive,
        )
