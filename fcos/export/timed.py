"""A detector or a file as what is timed, with the hash of its weights and the threads of this process."""

import torch

from fcos.export.file_detector import FileDetector
from fcos.export.latency import Timed
from fcos.export.origin import find_origin
from fcos.inference import Trained, build_detect


def timed(detector: Trained | FileDetector) -> Timed:
    """Return what is timed of a detector; a file must have been opened for as many threads as torch has."""
    threads = torch.get_num_threads()
    if isinstance(detector, FileDetector):
        import onnxruntime

        # Of what is imported: the package is onnxruntime-gpu where that is installed.
        runtime = f"onnxruntime {onnxruntime.__version__}"
        return Timed(detector.detect, detector.sha256, threads, detector.opened.device, runtime)
    sha256 = "" if detector.path is None else find_origin(detector.path).weights_sha256
    return Timed(build_detect(detector), sha256, threads, detector.device.type, f"torch {torch.__version__}")
