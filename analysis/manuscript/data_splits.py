"""Images and boxes that a sweep was trained and validated on, from the inputs of its runs or a saved evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from analysis.reader.evaluation import read_evaluation_file
from analysis.reader.sweep import Sweep
from fcos.evaluation.saved.saved_evaluation import EvaluationIndex
from fcos.storage.evaluation_files import INDEX

if TYPE_CHECKING:
    from mlflow.entities import Run

TRAINING, VALIDATION = "training", "validation"
# MLflow's own tag of an input.
_CONTEXT = "mlflow.data.context"


@dataclass(frozen=True)
class DataSplit:
    """A split as some runs record it. boxes, crowd_boxes: as annotated; None where they are not recorded."""

    name: str
    images: int
    boxes: int | None
    crowd_boxes: int | None
    classes: int
    runs: tuple[str, ...]


class _Profile(BaseModel):
    """What a run records of a split beside its name."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    num_images: NonNegativeInt
    num_boxes: NonNegativeInt
    num_crowd_boxes: NonNegativeInt
    classes: tuple[str, ...]


def read_splits(sweep: Sweep, runs: "Sequence[Run]") -> tuple[DataSplit, ...]:
    """Return the splits behind the finished trials, training before validation; those that are not recorded lack.

    Of the validation split a saved evaluation has the images too.
    """
    finished = [trial.run_id for trial in sweep.finished]
    found: dict[tuple[str, _Profile], list[str]] = {}
    by_id = {str(run.info.run_id): run for run in runs}
    for run_id in finished:
        for name, profile in _read_inputs(by_id[run_id]) if run_id in by_id else []:
            found.setdefault((name, profile), []).append(run_id)
    splits = [
        DataSplit(name, each.num_images, each.num_boxes, each.num_crowd_boxes, len(each.classes), tuple(run_ids))
        for (name, each), run_ids in found.items()
    ]
    if not any(split.name == VALIDATION for split in splits):
        splits += _read_evaluated(sweep, finished)
    return tuple(sorted(splits, key=lambda split: (split.name, split.images, split.boxes or 0)))


def _read_inputs(run: "Run") -> list[tuple[str, _Profile]]:
    """Return the splits that are inputs of a run; what another program has logged is none."""
    splits = []
    # None of an archive, and of servers without inputs.
    for each in run.inputs.dataset_inputs if run.inputs else ():
        names = [tag.value for tag in each.tags if tag.key == _CONTEXT and tag.value in (TRAINING, VALIDATION)]
        try:
            profile = _Profile.model_validate_json(each.dataset.profile or "")
        except ValidationError:
            continue
        splits += [(name, profile) for name in names]
    return splits


def _read_evaluated(sweep: Sweep, finished: Sequence[str]) -> list[DataSplit]:
    """Return what the first saved evaluation that can be read names of the validation images."""
    for run_id in finished:
        content = read_evaluation_file(sweep.uri, run_id, INDEX)
        try:
            index = EvaluationIndex.model_validate_json(content or b"")
        except ValidationError:
            continue
        return [DataSplit(VALIDATION, index.images, None, None, len(index.classes), (run_id,))]
    return []
