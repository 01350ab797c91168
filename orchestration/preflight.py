"""What would end a training at its first step, said before Ray starts."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fcos.config import BackboneConfig, Config, ConfigError
from fcos.parsing import parse
from orchestration.config import ClusterConfig
from orchestration.groups import near


def check_arm(config: Config, cluster: ClusterConfig) -> None:
    """Raises ConfigError for weights that do not exist and for norms that the workers cannot synchronise."""
    backbone = config.model.backbone
    if backbone.weights is not None:
        from fcos.model.pretrained import choose_weights

        choose_weights(backbone.name, backbone.weights)
    model = config.model
    norms = {"model.backbone.norm": backbone.norm, "model.fpn.norm": model.fpn.norm, "model.head.norm": model.head.norm}
    synchronised = [key for key, norm in norms.items() if norm == "sync_bn"]
    if synchronised and cluster.workers > 1 and cluster.device == "cpu":
        raise ConfigError(
            f"{synchronised[0]}=sync_bn: torch synchronises batch norm between CUDA devices only, not between "
            f"cluster.workers={cluster.workers} with cluster.device=cpu; use bn (in the head also gn)"
        )


def check_metrics(metrics: Sequence[str]) -> None:
    """Raises ConfigError with near matches for a metric below val/ that no evaluation gives."""
    from fcos.evaluation import METRICS

    known = [f"val/{name}" for name in METRICS]
    for metric in metrics:
        if metric.startswith("val/") and not metric.startswith("val/class_AP/") and metric not in known:
            raise ConfigError(f"experiment.metrics: {metric}: no such metric; {near(metric, known)}")


def fetch_weights(arms: Iterable[Mapping[str, Any]]) -> None:
    """Get every pretrained backbone of the arms that train once, for all trainings to find in the cache.

    Raises ConfigError for weights that cannot be had.
    """
    wanted = {
        (backbone.name, backbone.weights)
        for backbone in (
            parse(BackboneConfig, dict(arm["model"]["backbone"])) for arm in arms if arm.get("task", "train") == "train"
        )
        if backbone.weights is not None
    }
    for name, weights in sorted(wanted):
        from fcos.model.pretrained import pretrained_state_dict

        pretrained_state_dict(name, weights)
