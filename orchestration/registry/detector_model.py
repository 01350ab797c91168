"""The code of a registered detector, which MLflow keeps beside its weights: pictures in, a table of detections out.

MLflow copies this file into the model and runs it where the model is loaded. There fcos/ is a copy too, and nothing
else of this project is.
"""

import base64
import binascii
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.exceptions import MlflowException
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

if TYPE_CHECKING:
    from fcos.prediction.predictor import Picture
    from fcos.structures import Detections

# Columns of a request and of an answer; boxes are in pixels of the picture as it was given.
IMAGE = "image"
COLUMNS = (IMAGE, "x1", "y1", "x2", "y2", "score", "label", "class_name")
THRESHOLD = "score_threshold"
# Folder of the detector among the model's artifacts.
DETECTOR = "detector"
DEVICE = "device"


class DetectorModel(PythonModel):
    """A trained detector that answers with a row for each detection, by picture and then best first."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load the weights; model_config's device is cpu, cuda or auto."""
        from fcos.device import pick_device
        from fcos.prediction.detector_folder import read_detector
        from fcos.prediction.predictor import Predictor

        device = pick_device(str((context.model_config or {}).get(DEVICE, "auto")))
        trained = read_detector(Path(context.artifacts[DETECTOR]), device)
        self._predictor: Predictor = Predictor(trained)
        self._classes = trained.classes

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Detect on the encoded pictures of the column `image`, bytes or base64, each by itself.

        Raises MlflowException, which a server answers with code 400, for a picture or a threshold that is none.
        """
        threshold = _threshold(params)
        rows: list[tuple[object, ...]] = []
        for index, value in enumerate(model_input[IMAGE]):
            detections = self._detect(index, self._open(index, _content(index, value)))
            found = zip(detections.boxes.tolist(), detections.scores.tolist(), detections.labels.tolist(), strict=True)
            for box, score, label in found:
                if score >= threshold:
                    rows.append((index, *box, score, label, self._classes[label]))
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def _open(self, index: int, content: bytes) -> "Picture":
        from fcos.errors import DataError

        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            try:
                return self._predictor.read(Path(file.name))
            except DataError as error:
                raise _refusal(index, str(error).removeprefix(f"{file.name}: ")) from None

    def _detect(self, index: int, picture: "Picture") -> "Detections":
        from fcos.prediction.batches import detect_within_memory, too_large

        (detections,) = detect_within_memory(self._predictor, [picture])
        if detections is None:
            raise _refusal(index, too_large(self._predictor, picture))
        return detections


def _threshold(params: Mapping[str, Any] | None) -> float:
    threshold = float((params or {}).get(THRESHOLD, 0.0))
    if not 0 <= threshold <= 1:
        raise MlflowException.invalid_parameter_value(f"{THRESHOLD}={threshold:g}: must lie between 0 and 1")
    return threshold


def _content(index: int, value: object) -> bytes:
    """Return the encoded picture of a row; a table of texts, such as one of CSV, has it as base64."""
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    try:
        return base64.b64decode("".join(str(value).split()), validate=True)
    except (ValueError, binascii.Error):
        raise _refusal(index, "is neither bytes nor base64") from None


def _refusal(index: int, reason: str) -> MlflowException:
    refusal: MlflowException = MlflowException.invalid_parameter_value(f"{IMAGE} {index}: {reason}")
    return refusal


set_model(DetectorModel())
