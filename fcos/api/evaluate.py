"""fcos.evaluate: COCO metrics of a detector on its validation images."""

from fcos.api.load import Detector, check_detector
from fcos.api.user_errors import check_count, raises_config_error
from fcos.exported.file_detector import FileDetector, evaluate_file
from fcos.inference import evaluate as evaluate_trained


@raises_config_error
def evaluate(detector: Detector, *, batch_size: int = 8) -> dict[str, float]:
    """Compute the metrics of the validation images of the detector's configuration.

    Other images: load it with `changes` to data.root and data.val. Values are fractions, by names such as val/AP.
    Raises ConfigError for data that are not there or have other classes.

        >>> metrics = fcos.evaluate(detector)
        >>> sorted(metrics)[:3]
        ['val/AP', 'val/AP50', 'val/AP75']
    """
    check_detector(detector)
    check_count("batch_size", batch_size)
    if isinstance(detector, FileDetector):
        return evaluate_file(detector, batch_size=batch_size)
    return evaluate_trained(detector, batch_size=batch_size)
