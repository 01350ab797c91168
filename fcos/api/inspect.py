"""fcos.inspect: what a data set holds and what is wrong with it."""

from dataclasses import dataclass
from pathlib import Path

from fcos.api.user_errors import raises_config_error
from fcos.errors import ConfigError
from fcos.inspection.findings import Finding
from fcos.inspection.page import render_page
from fcos.inspection.run import inspect_data
from fcos.inspection.source import find_data
from fcos.inspection.summary import summary_lines
from fcos.runtime import ignore
from fcos.storage.files import write_atomically


@dataclass(frozen=True)
class DataReport:
    """Counts of a data set in lines of text, and its findings, worst first.

    A finding has `severity` (error, warning or note), `split`, `title`, `meaning`, `count` and `way_out`.
    """

    lines: tuple[str, ...]
    findings: tuple[Finding, ...]


@raises_config_error
def inspect(data: str | Path, *words: str, page: str | Path | None = None) -> DataReport:
    """Count a data set and find what is wrong with it, before anything is trained.

    data: a folder of labelled images in any format, or a run's folder; else, with `words`, the words of a training,
    such as data.root=... page: a file to which the page with samples is written.
    Raises ConfigError for data that cannot be found or read at all.

        >>> report = fcos.inspect(labelled)
        >>> report.lines[1].split(" of ")[0]
        'train: 3 images'
    """
    if page is not None and Path(page).is_dir():
        raise ConfigError(f"page={page}: is a folder; give the file of the page in it")
    inspection = inspect_data(find_data([str(data), *words]), ignore)
    if page is not None:
        Path(page).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(Path(page), render_page(inspection))
    return DataReport(tuple(summary_lines(inspection)), inspection.findings)
