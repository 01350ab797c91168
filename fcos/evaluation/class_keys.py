"""Metric keys of classes, apart from the computation of the metrics, which loads torch."""

import re
import unicodedata

from fcos.annotations.annotations import Annotations


def class_keys(annotations: Annotations) -> tuple[str, ...]:
    """Return the metric key of each class, in characters that MLflow accepts: letters and digits of any script.

    Where two keys would be equal, every key gets its category id.
    """
    names = [_metric_name(name) for name in annotations.classes]
    if len(set(names)) < len(names):
        names = [f"{name}_{id_}" for name, id_ in zip(names, annotations.category_ids, strict=True)]
    return tuple(f"val/class_AP/{name}" for name in names)


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
