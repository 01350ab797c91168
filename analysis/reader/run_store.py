"""What reports read of a tracking store, or of a published archive in its place."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from mlflow.entities import Experiment, FileInfo, Metric, Run
    from mlflow.store.entities import PagedList


class RunStore(Protocol):
    """The methods of an MLflow client that reports call; see that one for what they return."""

    def search_experiments(self, *, max_results: int) -> "Sequence[Experiment]":
        """Return the MLflow experiments."""

    def search_runs(
        self, experiment_ids: list[str], filter_string: str, *, max_results: int, page_token: str | None
    ) -> "PagedList[Run]":
        """Return a page of the runs that match an MLflow filter."""

    def get_run(self, run_id: str) -> "Run":
        """Return a run."""

    def get_metric_history(self, run_id: str, key: str) -> "Sequence[Metric]":
        """Return all points of a metric of a run."""

    def list_artifacts(self, run_id: str, path: str | None) -> "Sequence[FileInfo]":
        """Return the files in a folder of a run, None for those outside of any."""

    def download_artifacts(self, run_id: str, path: str, dst_path: str) -> str:
        """Return the local path of a file of a run."""
