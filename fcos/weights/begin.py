"""Begin a training from a whole detector: its weights, with the classes that both know matched by name."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from fcos.config.model import ModelConfig
from fcos.config.parse import flatten, parse
from fcos.errors import ConfigError
from fcos.model.local_weights import file_sha256
from fcos.model.weights_file import some
from fcos.storage import checkpoint_folder
from fcos.storage.checkpoint_folder import CheckpointError
from fcos.training import checkpoint
from fcos.training.checkpoint import Checkpoint
from fcos.weights.find import find_checkpoint
from fcos.weights.published import load_published

KEY = "model.weights"
# Settings that decide what a tensor of the same name and shape means.
DECISIVE = (
    "backbone.name",
    "backbone.widths",
    "backbone.stride_in_1x1",
    "fpn.kind",
    "fpn.channels",
    "pixel_mean",
    "pixel_std",
)
# Settings with which the head starts as another function of the same weights.
REINTERPRETED = ("head.norm", "head.regression", "head.divide_by_stride")
# Pixel statistics are written with so many digits.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Source:
    """A trained detector to begin from: its folder or file, and the SHA-256 of the content."""

    path: Path
    sha256: str


def find_source(weights: str) -> Source:
    """Return the checkpoint or file that a value of model.weights stands for now.

    Raises ConfigError where there is none.
    """
    path = Path(weights)
    if path.is_file():
        return Source(path, file_sha256(path))
    try:
        found = find_checkpoint(path)
        return Source(found.path, checkpoint_folder.digest(found.path))
    except CheckpointError as error:
        raise ConfigError(f"{KEY}={error}") from None


def check_source(source: Source, planned: str | None) -> None:
    """Raise ConfigError where the content is not that of the plan; without a plan nothing is compared."""
    if planned is not None and planned != source.sha256:
        raise ConfigError(
            f"{KEY}={source.path}: holds other weights (SHA-256 {source.sha256[:12]}) than those of the plan "
            f"({planned[:12]}); every machine must see the same"
        )


def model_of(weights: str) -> ModelConfig:
    """Return the model of the detector that a value of model.weights stands for.

    Raises ConfigError where there is none.
    """
    return parse(ModelConfig, dict(_load(find_source(weights).path).config["model"]))


def begin_from_weights(detector: nn.Module, config: ModelConfig, classes: Sequence[str]) -> tuple[str, ...]:
    """Copy the configured detector's weights into a new one; return notes on what is not taken from there.

    Of a checkpoint these are the weights that are evaluated, the moving average where there is one. Rows of the
    classification layer are copied for classes of the same name. Raises ConfigError for other content than planned,
    and for a detector whose weights would mean something else here.
    """
    if config.weights is None:
        return ()
    source = find_source(config.weights)
    check_source(source, config.weights_sha256)
    found = _load(source.path)
    theirs = parse(ModelConfig, dict(found.config["model"]))
    _refuse_other_detectors(source.path, theirs, config)
    own = detector.state_dict(keep_vars=True)
    taken = {name: value for name, value in found.weights.items() if name in own and own[name].shape == value.shape}
    taken |= dict(_classification(own, found, classes))
    with torch.no_grad():
        for name, value in taken.items():
            own[name].copy_(value)
    return tuple(_notes(source.path, own, taken, found, classes, _changed(theirs, config, REINTERPRETED)))


def _load(path: Path) -> Checkpoint:
    try:
        # Presets of one layout differ in settings that are chosen here.
        return load_published(path, None, first_preset=True) if path.is_file() else checkpoint.load(path)
    except CheckpointError as error:
        raise ConfigError(f"{KEY}={error}") from None


def _refuse_other_detectors(path: Path, theirs: ModelConfig, ours: ModelConfig) -> None:
    changed = _changed(theirs, ours, DECISIVE)
    if theirs.backbone.name == ours.backbone.name != "small_resnet":
        changed.pop("backbone.widths", None)
    if theirs.levels[0] != ours.levels[0]:
        changed["levels"] = (list(theirs.levels), list(ours.levels))
    if changed:
        listed = ", ".join(f"model.{key} is {there} there and {here} here" for key, (there, here) in changed.items())
        settings = " ".join(f"model.{key}={there}".replace(" ", "") for key, (there, _) in changed.items())
        raise ConfigError(f"{KEY}={path}: is of another detector: {listed}; give {settings}, or other weights")


def _changed(theirs: ModelConfig, ours: ModelConfig, keys: Sequence[str]) -> dict[str, tuple[object, object]]:
    """Return key -> values (theirs, ours) where two models differ."""
    there, here = (flatten(model.model_dump(mode="json")) for model in (theirs, ours))
    return {key: (there[key], here[key]) for key in keys if not _same(there[key], here[key])}


def _same(one: object, other: object) -> bool:
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return all(abs(a - b) < TOLERANCE for a, b in zip(one, other, strict=True))
    return one == other


def _classification(own: dict[str, Tensor], found: Checkpoint, classes: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of the classification layer, with the rows of classes that the other detector knows too."""
    rows = [(here, found.classes.index(name)) for here, name in enumerate(classes) if name in found.classes]
    for name, value in found.weights.items():
        if not _is_classification(name) or name not in own or not rows:
            continue
        # Predictions of a location follow each other, each with all classes.
        there, here = value.unflatten(0, (-1, len(found.classes))), own[name].detach().unflatten(0, (-1, len(classes)))
        if there.shape[0] == here.shape[0] and there.shape[2:] == here.shape[2:]:
            mixed = here.clone()
            ours, others = zip(*rows, strict=True)
            mixed[:, list(ours)] = there[:, list(others)]
            yield name, mixed.flatten(0, 1)


def _is_classification(name: str) -> bool:
    return name.startswith("head.") and name.endswith(("classification.weight", "classification.bias"))


def _notes(
    path: Path,
    own: dict[str, Tensor],
    taken: dict[str, Tensor],
    found: Checkpoint,
    classes: Sequence[str],
    changed: dict[str, tuple[object, object]],
) -> Iterator[str]:
    """Yield what is new, left out, or means something else."""
    begin = f"{KEY}={path.name}"
    new = tuple(name for name in classes if name not in found.classes)
    if new:
        yield f"{begin}: {len(classes) - len(new)} of {len(classes)} classes are known there; new: {some(new)}"
    missing = tuple(name for name in own if name not in taken and not name.endswith("num_batches_tracked"))
    missing = tuple(name for name in missing if not (new and _is_classification(name)))
    if missing:
        yield f"{begin}: {len(missing)} tensors are not in it and start new: {some(missing)}"
    left_out = tuple(name for name in found.weights if name not in taken and not _is_classification(name))
    if left_out:
        yield f"{begin}: {len(left_out)} of its tensors have no place here: {some(left_out)}"
    for key, (there, here) in changed.items():
        yield f"{begin}: model.{key} is {there} there and {here} here, so that its head begins as another function"
