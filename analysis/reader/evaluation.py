"""Read the saved evaluation of a run from the store: its final detections and the annotations behind them."""

from analysis.reader.client import read_artifact
from fcos.storage.evaluation_files import ANNOTATIONS, INDEX, MAX_BYTES, RESULTS, EvaluationFiles
from fcos.storage.store_conventions import Artifact


def read_evaluation(uri: str, run_id: str) -> EvaluationFiles | None:
    """Return the files of a run's saved evaluation, unread and unchecked; None unless all can be fetched.

    Runs of older versions have none, nor have those whose evaluation was too large, of which a note of theirs says so.
    """
    contents: list[bytes] = []
    for name in (INDEX, ANNOTATIONS, RESULTS):
        content = read_artifact(uri, run_id, f"{Artifact.EVALUATION}/{name}", MAX_BYTES)
        if content is None:
            return None
        contents.append(content)
    index, annotations, results = contents
    return EvaluationFiles(index=index, annotations=annotations, results=results)
