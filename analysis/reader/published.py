"""The runs of a published archive, read as those of a tracking store: the address published:<extracted folder>."""

from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from fcos.published.layout import POINTS, RUN, SWEEP, TRIALS
from fcos.published.records import PublishedPoint, PublishedRun, order_point, read_points, read_record

if TYPE_CHECKING:
    from mlflow.entities import Experiment, FileInfo, Metric, Run
    from mlflow.store.entities import PagedList

SCHEME = "published:"
# The archive has one; nothing depends on its id.
EXPERIMENT_ID = "0"


def published_uri(folder: Path) -> str:
    """Return the address of an extracted archive."""
    return f"{SCHEME}{folder}"


def is_published(uri: str) -> bool:
    """Return whether an address is that of an extracted archive."""
    return uri.startswith(SCHEME)


@lru_cache(maxsize=4)
def open_published(uri: str) -> "PublishedClient":
    """Return the client of an extracted archive, which does not change while it is open."""
    return PublishedClient(Path(uri.removeprefix(SCHEME)))


class PublishedClient:
    """The methods of an MLflow client that reports call, on the folder of an archive; nothing in it is trusted.

    Methods raise ArchiveError for a record of another form, KeyError for a run that the archive does not have.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def search_experiments(self, max_results: int = 1) -> "list[Experiment]":
        """Return the one experiment that all runs of the archive are in."""
        from mlflow.entities import Experiment

        return [Experiment(EXPERIMENT_ID, "published", "", "active")][:max_results]

    def search_runs(
        self, experiment_ids: list[str], filter_string: str, max_results: int = 1000, page_token: str | None = None
    ) -> "PagedList[Run]":
        """Return the runs that match an MLflow filter, newest first, all on one page."""
        from mlflow.store.entities import PagedList
        from mlflow.utils.search_utils import SearchUtils

        found = SearchUtils.sort(SearchUtils.filter(list(self._runs.values()), filter_string), [])
        return PagedList(found, None)

    def get_run(self, run_id: str) -> "Run":
        """Return a run."""
        return self._runs[run_id]

    def get_metric_history(self, run_id: str, key: str) -> "list[Metric]":
        """Return all points of a metric of a run."""
        from mlflow.entities import Metric

        return [Metric(key, point.value, point.time, point.step) for point in self._points[run_id].get(key, ())]

    def list_artifacts(self, run_id: str, path: str | None) -> "list[FileInfo]":
        """Return the files in a folder of a run, None for those outside of any."""
        from mlflow.entities import FileInfo

        folder = self._folder_of[run_id]
        files = sorted((folder / (path or "")).glob("*"))
        return [FileInfo(each.relative_to(folder).as_posix(), each.is_dir(), each.stat().st_size) for each in files]

    def download_artifacts(self, run_id: str, path: str, dst_path: str) -> str:
        """Return the path of a file of a run; raises FileNotFoundError where it has none."""
        file = self._folder_of[run_id] / path
        if not file.is_file():
            raise FileNotFoundError(path)
        return str(file)

    @cached_property
    def _folder_of(self) -> dict[str, Path]:
        folders = [self._folder / SWEEP, *sorted((self._folder / TRIALS).glob("*"))]
        return {read_record(each / RUN, PublishedRun).run_id: each for each in folders if (each / RUN).is_file()}

    @cached_property
    def _points(self) -> dict[str, dict[str, list[PublishedPoint]]]:
        """Run id -> metric -> its points."""
        tables: dict[str, dict[str, list[PublishedPoint]]] = {}
        for run_id, folder in self._folder_of.items():
            of_run = tables.setdefault(run_id, {})
            for point in read_points(folder / POINTS):
                of_run.setdefault(point.key, []).append(point)
        return tables

    @cached_property
    def _runs(self) -> "dict[str, Run]":
        return {run_id: self._make_run(run_id) for run_id in self._folder_of}

    def _make_run(self, run_id: str) -> "Run":
        from mlflow.entities import Metric, Param, Run, RunData, RunInfo, RunTag

        folder = self._folder_of[run_id]
        record = read_record(folder / RUN, PublishedRun)
        newest = [max(points, key=order_point) for points in self._points[run_id].values()]
        info = RunInfo(
            run_id, EXPERIMENT_ID, "", record.status, record.start, record.end, "active", str(folder), record.name
        )
        data = RunData(
            [Metric(point.key, point.value, point.time, point.step) for point in newest],
            [Param(key, value) for key, value in record.params.items()],
            [RunTag(key, value) for key, value in record.tags.items()],
        )
        return Run(info, data)
