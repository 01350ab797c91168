"""Metric keys of classes, and keys without ground truth; the computation of the metrics itself loads torch."""

import re
import unicodedata

import numpy as np
from jaxtyping import Bool

from fcos.annotations.annotations import Annotations
from fcos.evaluation.coco_settings import AREA_RANGES


def class_keys(annotations: Annotations) -> tuple[str, ...]:
    """Return the metric key of each class, in characters that MLflow accepts: letters and digits of any script.

    Where two keys would be equal, every key gets its category id.
    """
    names = [_metric_name(name) for name in annotations.classes]
    if len(set(names)) < len(names):
        names = [f"{name}_{id_}" for name, id_ in zip(names, annotations.category_ids, strict=True)]
    return tuple(f"val/class_AP/{name}" for name in names)


def keys_without_ground_truth(annotations: Annotations) -> frozenset[str]:
    """Return the metric keys without a value on these annotations: areas and classes without a box that counts."""
    counts = ~annotations.crowd & _is_within(annotations, AREA_RANGES[""])
    keys = {
        f"val/{name}{letter}"
        for letter, area_range in AREA_RANGES.items()
        if letter and not (counts & _is_within(annotations, area_range)).any()
        for name in ("AP", "AR")
    }
    present = set(annotations.labels[counts].tolist())
    return frozenset(keys | {key for label, key in enumerate(class_keys(annotations)) if label not in present})


def _is_within(annotations: Annotations, area_range: tuple[float, float]) -> Bool[np.ndarray, " M"]:
    within: Bool[np.ndarray, " M"] = (annotations.areas >= area_range[0]) & (annotations.areas <= area_range[1])
    return within


def _metric_name(name: str) -> str:
    """Return a class name with its letters and digits; marks and symbols are spelled, other characters are `_`."""
    letters = unicodedata.normalize("NFC", name)
    spelled = "".join(letter if letter.isascii() or letter.isalnum() else _spelled(letter) for letter in letters)
    return re.sub(r"[^\w\-. :]", "_", spelled).strip(". ") or "_"


def _spelled(letter: str) -> str:
    """Return the last word of the name of a mark or a symbol: `aa` of the Devanagari vowel sign AA."""
    words = unicodedata.name(letter, "").lower().split()
    if not words or words[0] == "variation" or unicodedata.category(letter)[0] not in "MS":
        return "" if unicodedata.category(letter) in ("Cf", "Mn") else "_"
    return words[-1]
