"""Weights that trainings begin from: checked, pinned by their content, and fetched before anything is trained."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Console

from fcos.config.parse import with_keys
from fcos.config.rates import rate_notes
from fcos.config.run import Config
from fcos.model.local_weights import KEY, check_sha256, file_sha256, local_file
from fcos.storage.store_conventions import WEIGHTS_DIGESTS


def pinned_keys(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the keys of a plain config that name weights of which it holds the digest, which counts instead."""
    return tuple(
        key for key, digest in WEIGHTS_DIGESTS.items() if None not in (_get(values, key), _get(values, digest))
    )


def _get(values: Mapping[str, Any], key: str) -> Any:
    """Return the value of a dotted key; None where there is none."""
    found: Any = values
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def check_weights(config: Config) -> None:
    """Raise ConfigError with close matches for a backbone or weights whose names do not exist."""
    # Their libraries, which load torch, know the names.
    backbone = config.model.backbone
    if backbone.timm_name is not None:
        from fcos.model.timm_backbone import check_timm

        check_timm(backbone)
    elif backbone.weights is not None and local_file(backbone) is None:
        from fcos.model.pretrained import choose_weights

        choose_weights(backbone.name, backbone.weights)


def pin_weights(config: Config) -> Config:
    """Return a config with the digests of the local weights that it begins from, and a run's folder as its checkpoint.

    Raises ConfigError for weights that are missing, or of another digest than the config already holds.
    """
    if config.task != "train":
        return config
    model = config.model
    if model.weights is not None:
        from fcos.weights.begin import check_source, find_source

        source = find_source(model.weights)
        check_source(source, model.weights_sha256)
        return with_keys(config, {"model.weights": str(source.path), "model.weights_sha256": source.sha256})
    file = local_file(model.backbone)
    if file is None:
        return config
    check_sha256(file, model.backbone.weights_sha256, KEY)
    return with_keys(config, {"model.backbone.weights_sha256": file_sha256(file)})


class BeginningNotes:
    """Notes on how trainings begin; those of configs that begin alike are made once."""

    def __init__(self) -> None:
        self._made: dict[str, tuple[str, ...]] = {}

    def of(self, config: Config, classes: tuple[str, ...] | None) -> tuple[str, ...]:
        """Return what a training of a config would remark on its weights and rates.

        A detector is built as the training would, without weights that are yet to be downloaded. Without knowledge of
        the classes nothing is built. Raises ConfigError for weights that do not fit.
        """
        backbone = config.model.backbone
        local = config.model.weights is not None or local_file(backbone) is not None
        if config.task != "train" or classes is None or not (local or backbone.timm_name is not None):
            return rate_notes(config)
        keys = {} if local else {"model.backbone.weights": None}
        model = with_keys(config, keys).model
        deciding = model.model_dump(mode="json", exclude={"assignment", "loss", "postprocess"})
        key = json.dumps([deciding, classes])
        if key not in self._made:
            from fcos.build import build_detector
            from fcos.weights.begin import begin_from_weights

            detector = build_detector(model, len(classes), channels_last=False)
            self._made[key] = (*detector.backbone.notes, *begin_from_weights(detector, model, classes))
        return (*self._made[key], *rate_notes(config))


def fetch_weights(configs: Iterable[Config], console: Console) -> None:
    """Download the pretrained backbones of all trainings into the shared cache, shown on the console.

    Raises ConfigError for weights that cannot be downloaded.
    """
    models = [config.model for config in configs if config.task == "train" and config.model.weights is None]
    named = {(model.backbone.name, model.backbone.weights): model for model in models}
    for name, weights in sorted(key for key in named if key[1] is not None):
        model = named[name, weights]
        if local_file(model.backbone) is not None or weights is None:
            continue
        # Without a network the hub is tried several times, which takes most of a minute.
        console.print(f"fetching weights {weights} of {name}, unless they are here ...", highlight=False, markup=False)
        if model.backbone.timm_name is None:
            from fcos.model.pretrained import pretrained_state_dict

            pretrained_state_dict(name, weights)
        else:
            from fcos.model.timm_backbone import build_timm

            build_timm(model.backbone, first_level=model.levels[0], last_level=min(model.levels[-1], 5))
