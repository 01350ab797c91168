"""Convert state dicts of the official code (maskrcnn-benchmark's layout) to ours."""

from collections.abc import Mapping

from torch import Tensor

from fcos.weights.names import bgr_to_rgb, rename, tower_key

# The official frozen batch norms divide by sqrt(variance); ours add this to the variance, as torchvision's do.
EPSILON = 1e-5
_RULES = {
    r"backbone\.body\.stem\.(.+)": r"backbone.stem.\1",
    **{rf"backbone\.body\.layer{n}\.(.+)": rf"backbone.c{n + 1}.\1" for n in (1, 2, 3, 4)},
    # Counted from C2, which FCOS's pyramid does not use.
    **{rf"backbone\.fpn\.fpn_inner{n}\.(.+)": rf"fpn.inner_blocks.{n - 2}.0.\1" for n in (2, 3, 4)},
    **{rf"backbone\.fpn\.fpn_layer{n}\.(.+)": rf"fpn.layer_blocks.{n - 2}.0.\1" for n in (2, 3, 4)},
    **{rf"backbone\.fpn\.top_blocks\.p{n}\.(.+)": rf"fpn.extra_blocks.convs.{n - 6}.\1" for n in (6, 7)},
    **{
        rf"rpn\.head\.{theirs}_tower\.{position}\.(weight|bias)": tower_key(ours, position, r"\1")
        for theirs, ours in (("cls", "classification"), ("bbox", "regression"))
        for position in range(12)
    },
    r"rpn\.head\.cls_logits\.(.+)": r"head.classification.\1",
    r"rpn\.head\.bbox_pred\.(.+)": r"head.regression.\1",
    r"rpn\.head\.centerness\.(.+)": r"head.quality.\1",
    r"rpn\.head\.scales\.(\d+)\.scale": r"head.scales[\1]",
}


def from_official(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the official code's weights (R-50 and R-101, GN heads) to our names and RGB images.

    There, pixels in 0..255 are only reduced by a mean: see model.pixel_mean and model.pixel_std. Raises WeightsError
    for names that do not exist here.
    """
    weights = rename(state_dict, _RULES, "the official FCOS")
    shifted = {key: value - EPSILON for key, value in weights.items() if key.endswith("running_var")}
    return bgr_to_rgb(weights | shifted)
