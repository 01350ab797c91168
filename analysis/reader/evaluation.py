"""Read the saved evaluation of a run from the store: its final detections and the annotations behind them."""

from analysis.reader.client import read_artifact
from fcos.storage.evaluation_files import ANNOTATIONS, INDEX, MAX_BYTES, RESULTS, EvaluationFiles
from fcos.storage.store_conventions import Artifact


def read_evaluation(uri: str, run_id: str) -> EvaluationFiles | None:
    """Return the files of a run's saved evaluation, unread and unchecked; None unless all can be fetched.

    Runs of older versions have none, nor have those whose evaluation was too large, which a note of theirs states.
    """
    index, annotations, results = (read_evaluation_file(uri, run_id, name) for name in (INDEX, ANNOTATIONS, RESULTS))
    if index is None or annotations is None or results is None:
        return None
    return EvaluationFiles(index=index, annotations=annotations, results=results)


def read_evaluation_file(uri: str, run_id: str, name: str) -> bytes | None:
    """Return one file of a run's saved evaluation, None where it cannot be fetched or is too large."""
    return read_artifact(uri, run_id, f"{Artifact.EVALUATION}/{name}", MAX_BYTES)
