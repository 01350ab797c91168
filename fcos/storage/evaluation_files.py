"""Files of a saved evaluation: their names, the bound on their size, and their content as bytes.

A training writes them (fcos/evaluation/saved/save_evaluations.py), the tracking store has them as artifacts, and a
report reads them from there. This module depends on the standard library alone.
"""

from dataclasses import dataclass
from typing import Final

# What the two other files are, with their digests.
INDEX: Final = "index.json"
# The annotations that the detections were evaluated against, in COCO format.
ANNOTATIONS: Final = "annotations.json.gz"
# The detections as COCO results.
RESULTS: Final = "results.json.gz"
# Annotations first and index last: where the index is, the others are whole.
FILES: Final = (ANNOTATIONS, RESULTS, INDEX)

# Bytes of an evaluation's files together; COCO's val2017 with 100 detections for each of its 5,000 images has a third.
MAX_BYTES: Final = 64 << 20
# Bytes of the JSON text of either file. Detections compress to about a third, a hostile file to a thousandth.
MAX_TEXT_BYTES: Final = 512 << 20


@dataclass(frozen=True)
class EvaluationFiles:
    """The content of a saved evaluation's files, unread and unchecked."""

    index: bytes
    annotations: bytes
    results: bytes
