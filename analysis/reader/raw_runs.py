"""The runs of a sweep as the store has them, to be published: tags, params, points, and what repeats them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from analysis.reader.client import connect, raise_store_errors
from analysis.reader.metric_history import read_histories
from analysis.reader.repeats import find_repeats
from analysis.reader.runs import choose_entry, list_sweeps, read_experiment, search_children
from analysis.reader.trials import read_trials
from fcos.published.records import PublishedPoint
from fcos.storage.store_conventions import MetricPrefix, RunKind

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True)
class RawSweep:
    """A sweep's own run and those of its trials; of a single run, which is its own trial, both are the same.

    repeats: run id of a trial -> its training done otherwise, as the tag of a published run.
    """

    uri: str
    name: str
    parent: "Run"
    trials: "tuple[Run, ...]"
    repeats: Mapping[str, str]

    @property
    def is_single(self) -> bool:
        """Whether it is a single run outside of any sweep."""
        return [run.info.run_id for run in self.trials] == [self.parent.info.run_id]


def read_raw_sweep(uri: str, name: str | None = None, mlflow_experiment: str | None = None) -> RawSweep:
    """Read a sweep by name or run id, by default the newest; raises StoreError where there is none."""
    client = connect(uri)
    with raise_store_errors(uri):
        entry = choose_entry(list_sweeps(client, mlflow_experiment), name, uri)
        parent = client.get_run(entry.run_id)
        found = [parent] if entry.kind == RunKind.RUN else search_children(client, parent)
        # With what a search leaves out, such as their inputs.
        runs = [client.get_run(run.info.run_id) for run in found]
        trials = read_trials(runs)
        experiment, _ = read_experiment(uri, parent, entry.name, trials)
        repeats = find_repeats(client, trials, experiment.metrics[0])
    return RawSweep(
        uri=uri,
        name=entry.name,
        parent=parent,
        trials=tuple(sorted(runs, key=lambda run: str(run.info.run_id))),
        repeats={repeat.trial.run_id: repeat.to_tag() for repeat in repeats},
    )


def read_all_points(uri: str, runs: "Sequence[Run]") -> dict[str, list[PublishedPoint]]:
    """Return every point of the metrics of some runs, by run id; those of their machines are left out."""
    client = connect(uri)
    points: dict[str, list[PublishedPoint]] = {run.info.run_id: [] for run in runs}
    with raise_store_errors(uri):
        metrics = sorted({key for run in runs for key in run.data.metrics if not key.startswith(MetricPrefix.SYSTEM)})
        for metric in metrics:
            run_ids = [run.info.run_id for run in runs if metric in run.data.metrics]
            for point in read_histories(client, run_ids, metric):
                points[point.run_id].append(PublishedPoint(metric, point.step, point.timestamp, point.value))
    return points
