"""Convert state dicts of AdelaiDet's FCOS and of detectron2's own to ours."""

from collections.abc import Mapping

from torch import Tensor

from fcos.weights.names import bgr_to_rgb, rename, tower_key

_BODY = r"backbone\.bottom_up"
_ADELAIDET = r"proposal_generator\.fcos_head"
_BACKBONE = {
    rf"{_BODY}\.stem\.conv1\.weight": "backbone.stem.conv1.weight",
    rf"{_BODY}\.stem\.conv1\.norm\.(.+)": r"backbone.stem.bn1.\1",
    rf"{_BODY}\.res(\d)\.(\d+)\.conv(\d)\.weight": r"backbone.c\1.\2.conv\3.weight",
    rf"{_BODY}\.res(\d)\.(\d+)\.conv(\d)\.norm\.(.+)": r"backbone.c\1.\2.bn\3.\4",
    rf"{_BODY}\.res(\d)\.(\d+)\.shortcut\.weight": r"backbone.c\1.\2.downsample.0.weight",
    rf"{_BODY}\.res(\d)\.(\d+)\.shortcut\.norm\.(.+)": r"backbone.c\1.\2.downsample.1.\3",
    **{rf"backbone\.fpn_lateral{n}\.(.+)": rf"fpn.inner_blocks.{n - 3}.0.\1" for n in (3, 4, 5)},
    **{rf"backbone\.fpn_output{n}\.(.+)": rf"fpn.layer_blocks.{n - 3}.0.\1" for n in (3, 4, 5)},
    **{rf"backbone\.top_block\.p{n}\.(.+)": rf"fpn.extra_blocks.convs.{n - 6}.\1" for n in (6, 7)},
}


def _towers(names: Mapping[str, str]) -> dict[str, str]:
    return {
        rf"{theirs}\.{position}\.(weight|bias)": tower_key(ours, position, r"\1")
        for theirs, ours in names.items()
        for position in range(12)
    }


_RULES = {
    **_BACKBONE,
    **_towers({rf"{_ADELAIDET}\.cls_tower": "classification", rf"{_ADELAIDET}\.bbox_tower": "regression"}),
    **_towers({r"head\.cls_subnet": "classification", r"head\.bbox_subnet": "regression"}),
    rf"({_ADELAIDET}\.cls_logits|head\.cls_score)\.(.+)": r"head.classification.\2",
    rf"({_ADELAIDET}|head)\.bbox_pred\.(.+)": r"head.regression.\2",
    rf"({_ADELAIDET}|head)\.ctrness\.(.+)": r"head.quality.\2",
    rf"{_ADELAIDET}\.scales\.(\d+)\.scale": r"head.scales[\1]",
}


def from_detectron2(
    state_dict: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], list[float] | None, list[float] | None]:
    """Convert AdelaiDet's or detectron2's weights (R-50 and R-101, GN heads) to our names and RGB images.

    Also returns mean and standard deviation of red, green and blue in 0..255, where the file has them. Raises
    WeightsError for names that do not exist here.
    """
    weights_only = {
        key: value
        for key, value in state_dict.items()
        if key not in ("pixel_mean", "pixel_std") and not key.startswith("anchor_generator.")
    }
    weights = bgr_to_rgb(rename(weights_only, _RULES, "FCOS of AdelaiDet or detectron2"))
    mean, std = (
        state_dict[key].flatten().flip(0).tolist() if key in state_dict else None for key in ("pixel_mean", "pixel_std")
    )
    return weights, mean, std
