"""Categories of several files: the same names, whatever their ids and their order."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fcos.annotations.annotations import Annotations
from fcos.errors import DataError


def with_classes(annotations: Annotations, classes: Sequence[str]) -> Annotations:
    """Return annotations whose labels are positions among `classes`, matched by name.

    A note names where that changes labels. Annotations of other names are returned as they are.
    """
    if annotations.classes == tuple(classes) or set(annotations.classes) != set(classes):
        return annotations
    label_of = {name: label for label, name in enumerate(classes)}
    labels = np.array([label_of[name] for name in annotations.classes], dtype=np.int64)
    ids = tuple(annotations.category_ids[label] for label in np.argsort(labels))
    note = f"{annotations.path.name}: the ids of its categories give another order of classes; they are matched by name"
    return replace(
        annotations,
        classes=tuple(classes),
        category_ids=ids,
        labels=labels[annotations.labels],
        notes=(*annotations.notes, note),
    )


def require_same_categories(train: Annotations, val: Annotations) -> None:
    """Raise DataError naming what only one of two splits has."""
    if set(train.classes) == set(val.classes):
        return
    differences = [
        f"only {own.path.name} has {', '.join(map(repr, names[:5]))}{', ...' if len(names) > 5 else ''}"
        for own, other in ((train, val), (val, train))
        if (names := [name for name in own.classes if name not in other.classes])
    ]
    raise DataError(f"{train.path} and {val.path} must have the same categories; {', '.join(differences)}")
