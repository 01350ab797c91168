"""Networks of timm (PyTorch Image Models) as backbones; the package is imported where one is configured."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fcos.config.backbone import TIMM, BackboneConfig
from fcos.errors import ConfigError, suggest
from fcos.model.local_weights import KEY, local_file
from fcos.model.norm import FrozenBatchNorm2d, require_cuda_workers
from fcos.model.pretrained import load_file_weights, tensors_of

# Height and width of the images that a new network is tried with: multiples of the largest stride.
TRIAL_SIZE = (64, 96)


class TimmBackbone(nn.Module):
    """A feature extractor of timm that returns the levels from `first_level` on as c2, c3, ...

    Modules up to the one named `frozen_to` get no gradients, and their batch norms keep their statistics; those behind
    the one named `end`, the last level, get no gradients either. Modules are taken to be registered in the order of
    their use, as timm's own extractors take them.
    """

    def __init__(
        self, body: nn.Module, channels: Sequence[int], *, first_level: int, end: str, frozen_to: str | None
    ) -> None:
        super().__init__()
        self.body = body
        self.channels = list(channels)
        self.first_level = first_level
        # Remarks on the weights that it began from.
        self.notes: tuple[str, ...] = ()
        modules = [module for _, module in body.named_modules()]
        frozen = modules[: 0 if frozen_to is None else _end_of(body, frozen_to)]
        for module in (*frozen, *modules[_end_of(body, end) :]):
            for parameter in module.parameters(recurse=False):
                parameter.requires_grad_(False)
        whole = {id(module) for module in frozen}
        # In a tuple, as modules would be registered a second time; without those that also hold what is trained.
        self._frozen = tuple(module for module in frozen if all(id(each) in whole for each in module.modules()))
        # A new module is in training mode, in which the statistics of frozen batch norms would change.
        self.train(self.training)

    def train(self, mode: bool = True) -> "TimmBackbone":
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, x: Float[Tensor, "B 3 H W"]) -> dict[str, Float[Tensor, "B _ _ _"]]:
        return {f"c{level}": feature for level, feature in enumerate(self.body(x), start=self.first_level)}


class FrozenBatchNormAct2d(FrozenBatchNorm2d):
    """A frozen batch norm together with the activation that timm's norms include."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        super().__init__(norm.num_features, norm.eps)
        self.load_state_dict(norm.state_dict())
        self.drop, self.act = getattr(norm, "drop", nn.Identity()), getattr(norm, "act", nn.Identity())

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        activated: Tensor = self.act(self.drop(super().forward(x)))
        return activated


def build_timm(config: BackboneConfig, *, first_level: int, last_level: int) -> TimmBackbone:
    """Build a network of timm as a backbone of the levels first_level..last_level (2..5), with its weights.

    Raises ConfigError for a name that timm does not have, a network without these levels or other sizes of images,
    weights that are not available, and norms that it does not have.
    """
    check_timm(config)
    strides = [2**level for level in range(first_level, last_level + 1)]
    known = _create(config, None).feature_info
    reductions: list[int] = known.reduction()
    if missing := [stride for stride in strides if stride not in reductions]:
        raise ConfigError(
            f"model.backbone.name={config.name}: has feature maps of the strides {reductions}, and model.levels need "
            f"{missing} too; give another network"
        )
    body = _create(config, [_deepest(reductions, stride) for stride in strides])
    notes = () if (file := local_file(config)) is None else load_file_weights(file, config, [tensors_of(body, body)])
    _set_norms(body, config)
    backbone = TimmBackbone(
        body,
        body.feature_info.channels(),
        first_level=first_level,
        end=body.feature_info.module_name()[-1],
        frozen_to=_frozen_to(config, reductions, known.module_name()),
    )
    backbone.notes = notes
    _try(backbone, config, strides)
    return backbone


def check_timm(config: BackboneConfig) -> None:
    """Raise ConfigError with close matches for a network or weights that timm does not have; others pass."""
    name = config.timm_name
    if name is None:
        return
    timm = _timm()
    architecture, dot, tag = name.partition(".")
    if dot or not timm.is_model(name):
        if dot and timm.is_model(architecture):
            hint = f"give {TIMM}{architecture} and {KEY}={tag}"
        else:
            hint = suggest(name, timm.list_models()) or "python -c 'import timm; print(timm.list_models())' lists them"
        raise ConfigError(f"model.backbone.name={config.name}: timm has no such network; {hint}")
    if config.weights is None or local_file(config) is not None:
        return
    tags = [each.partition(".")[2] for each in timm.list_pretrained(f"{name}.*")]
    if config.weights not in tags:
        hint = suggest(config.weights, tags) or f"timm has {', '.join(tags) or 'none'}"
        raise ConfigError(f"{KEY}={config.weights}: no such weights of {config.name}; {hint}")


def _timm() -> Any:
    """Import timm, which takes a second and is needed for its own networks alone."""
    import timm

    return timm


def _create(config: BackboneConfig, indices: Sequence[int] | None) -> Any:
    """Create the feature extractor with these of its maps (None: all), with weights where a tag of timm is configured.

    Raises ConfigError for networks that have none, and for weights that cannot be downloaded.
    """
    name, tag = config.timm_name, config.weights if local_file(config) is None else None
    pretrained = tag is not None and indices is not None
    chosen = {} if indices is None else {"out_indices": tuple(indices)}
    try:
        with _hub_warnings_off():
            return _timm().create_model(
                f"{name}.{tag}" if pretrained else name, pretrained=pretrained, features_only=True, **chosen
            )
    except Exception as error:  # each family of networks refuses in its own way, and so does each way of downloading
        reason = _reason(error)
        if pretrained:
            raise ConfigError(
                f"{KEY}={tag}: the weights of {config.name} cannot be had ({reason}); where there is a network, "
                f"`hf download {_hub_id(name, tag)}` fetches them: give that file, {KEY}=<file>.safetensors, or null "
                "for random ones"
            ) from error
        raise ConfigError(
            f"model.backbone.name={config.name}: timm extracts no feature maps of this network ({reason})"
        ) from error


@contextmanager
def _hub_warnings_off() -> Iterator[None]:
    """Keep the Hugging Face hub from logging every try to reach it; what it ends with is the reason of an error."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _reason(error: BaseException) -> str:
    """Return the first line of what an error was raised from in the first place."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _hub_id(name: str | None, tag: str | None) -> str:
    """Return the name under which the Hugging Face hub has the weights of a tag, such as timm/resnet18.a1_in1k."""
    published = _timm().get_pretrained_cfg(f"{name}.{tag}")
    return str((published and published.hf_hub_id) or f"{TIMM}{name}.{tag}")


def _deepest(reductions: Sequence[int], stride: int) -> int:
    """Return the index of the last feature map of a stride."""
    return len(reductions) - 1 - list(reversed(reductions)).index(stride)


def _frozen_to(config: BackboneConfig, reductions: Sequence[int], modules: Sequence[str]) -> str | None:
    """Return the name of the module that ends the frozen stages; None where none are."""
    if config.frozen_stages == 0:
        return None
    # The stem ends at stride 2, C2 at stride 4, ...
    stride = 2**config.frozen_stages
    if stride not in reductions:
        raise ConfigError(
            f"model.backbone.frozen_stages={config.frozen_stages}: {config.name} has no feature map of stride {stride} "
            f"where that stage would end, only of {list(reductions)}"
        )
    return modules[_deepest(reductions, stride)]


def _end_of(body: nn.Module, name: str) -> int:
    """Return the index behind the last module of a network, in order, that lies in the one of a name of timm's."""
    names = [each for each, _ in body.named_modules()]
    # Feature extractors rename what they wrap.
    for own in (name, name.replace(".", "_"), f"body.{name}", f"model.{name}"):
        inside = [index for index, each in enumerate(names) if each == own or each.startswith(f"{own}.")]
        if inside:
            return inside[-1] + 1
    raise ConfigError(
        f"model.backbone.name: the stages of this network of timm have no names here ({name}); give another"
    )


def _set_norms(body: nn.Module, config: BackboneConfig) -> None:
    """Replace the batch norms by those of the configured kind; raise ConfigError where there are no such norms."""
    norms = [(name, module) for name, module in body.named_modules() if isinstance(module, nn.BatchNorm2d)]
    if bool(norms) is (config.norm == "own"):
        what = "has batch norms; give frozen_bn, bn or sync_bn" if norms else "has no batch norms; give own"
        raise ConfigError(f"model.backbone.norm={config.norm}: {config.name} {what}")
    match config.norm:
        case "frozen_bn":
            for name, norm in norms:
                parent, _, last = name.rpartition(".")
                setattr(body.get_submodule(parent), last, FrozenBatchNormAct2d(norm))
        case "sync_bn":
            require_cuda_workers()
            _timm().layers.convert_sync_batchnorm(body)
        case _:
            pass


def _try(backbone: TimmBackbone, config: BackboneConfig, strides: Sequence[int]) -> None:
    """Raise ConfigError where a network does not take any size of image, or gives other sizes than its strides do."""
    training = backbone.training
    backbone.eval()
    expected = [tuple(side // stride for side in TRIAL_SIZE) for stride in strides]
    try:
        with torch.no_grad():
            sizes = [tuple(x.shape[-2:]) for x in backbone(torch.zeros(1, 3, *TRIAL_SIZE)).values()]
    except (RuntimeError, AssertionError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            f"model.backbone.name={config.name}: does not take images of any size ({reason}); give another network"
        ) from None
    finally:
        backbone.train(training)
    if sizes != expected:
        raise ConfigError(
            f"model.backbone.name={config.name}: gives maps of {sizes} for an image of {TRIAL_SIZE}, and model.levels "
            f"need {expected}; give another network"
        )
