"""Metadata of a model card as Hugging Face's hub reads them: license, task, and the model index with a spread."""

import re
from collections.abc import Iterator

import yaml

from analysis.formatting import format_count, join_words, shorten_metric
from analysis.manuscript.collect import SweepFacts
from analysis.report_json.schema import SummaryRecord

# The hub's own word for it.
UNKNOWN_LICENSE = "unknown"
_NOT_IN_TYPES = re.compile(r"[^A-Za-z0-9_.-]+")


def make_metadata_text(facts: SweepFacts, arm: str, license: str) -> str:
    """Return the metadata of an arm's card as YAML. license: "" where it is not given."""
    summaries = [summary for summary in facts.record.summaries if summary.arm == arm]
    results = {
        "task": {"type": "object-detection", "name": "Object Detection"},
        "dataset": _make_dataset(facts),
        "metrics": [entry for summary in summaries for entry in _make_entries(summary, facts)],
    }
    metadata = {
        "license": license.lower() or UNKNOWN_LICENSE,
        "library_name": "fcos-lab",
        "pipeline_tag": "object-detection",
        "tags": ["object-detection", "fcos"],
        "model-index": [{"name": f"{facts.sweep.name} {arm}", "results": [results]}],
    }
    return str(yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=1000))


def _make_dataset(facts: SweepFacts) -> dict[str, str]:
    origins = [trial.provenance for trial in facts.finished]
    name = join_words(sorted({origin.data for origin in origins} - {""})) or "not recorded"
    digests = sorted({origin.data_digest for origin in origins} - {""})
    revision = {"revision": digests[0]} if len(digests) == 1 else {}
    return {"type": _make_type(name), "name": name, "split": "validation", **revision}


def _make_entries(summary: SummaryRecord, facts: SweepFacts) -> Iterator[dict[str, object]]:
    """Yield the mean of a metric over seeds, and its spread where there are several."""
    name, of_seeds = shorten_metric(summary.metric), format_count(summary.n, "seed")
    if summary.mean is not None:
        mean = f"{name}, mean of {of_seeds}"
        yield {"type": _make_type(name), "value": summary.mean, "name": mean, "args": _make_arguments(summary, facts)}
    if summary.deviation is not None:
        yield {
            "type": f"{_make_type(name)}-standard-deviation",
            "value": summary.deviation,
            "name": f"{name}, sample standard deviation over {of_seeds}",
            "args": _make_arguments(summary, facts),
        }


def _make_arguments(summary: SummaryRecord, facts: SweepFacts) -> dict[str, object]:
    """Return what a number is computed over; new lists each time, as YAML would refer from one to the other."""
    trials = sorted((trial for trial in facts.finished if trial.arm == summary.arm), key=lambda trial: trial.seed)
    return {"n": summary.n, "seeds": [trial.seed for trial in trials], "runs": [trial.run_id for trial in trials]}


def _make_type(name: str) -> str:
    """Return a name of letters, digits and few marks."""
    return _NOT_IN_TYPES.sub("-", name).strip("-") or "unknown"
