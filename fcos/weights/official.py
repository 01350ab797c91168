"""State dicts of the official code (maskrcnn-benchmark's layout) to ours."""

from collections.abc import Mapping

from torch import Tensor

from fcos.weights.names import from_blue_green_red, rename, tower

# Frozen batch norms there divide by the root of the variance itself; ours add this, as torchvision's do.
EPSILON = 1e-5
_RULES = {
    r"backbone\.body\.stem\.(.+)": r"backbone.stem.\1",
    **{rf"backbone\.body\.layer{n}\.(.+)": rf"backbone.c{n + 1}.\1" for n in (1, 2, 3, 4)},
    # Counted from C2, which has no place in FCOS's pyramid.
    **{rf"backbone\.fpn\.fpn_inner{n}\.(.+)": rf"fpn.inner_blocks.{n - 2}.0.\1" for n in (2, 3, 4)},
    **{rf"backbone\.fpn\.fpn_layer{n}\.(.+)": rf"fpn.layer_blocks.{n - 2}.0.\1" for n in (2, 3, 4)},
    **{rf"backbone\.fpn\.top_blocks\.p{n}\.(.+)": rf"fpn.extra_blocks.convs.{n - 6}.\1" for n in (6, 7)},
    **{
        rf"rpn\.head\.{theirs}_tower\.{position}\.(weight|bias)": tower(ours, position, r"\1")
        for theirs, ours in (("cls", "classification"), ("bbox", "regression"))
        for position in range(12)
    },
    r"rpn\.head\.cls_logits\.(.+)": r"head.classification.\1",
    r"rpn\.head\.bbox_pred\.(.+)": r"head.regression.\1",
    r"rpn\.head\.centerness\.(.+)": r"head.quality.\1",
    r"rpn\.head\.scales\.(\d+)\.scale": r"head.scales[\1]",
}


def from_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The official code's weights (R-50 and R-101, GN heads) under our names, for images in RGB.

    Raises WeightsError for names that have no place. Pixels are differences to a mean in gray levels there:
    model.pixel_mean and model.pixel_std.
    """
    weights = rename(state_dict, _RULES, "the official FCOS")
    moved = {key: value - EPSILON for key, value in weights.items() if key.endswith("running_var")}
    return from_blue_green_red(weights | moved)
