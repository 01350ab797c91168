"""What would end a training at its first step, said before Ray starts."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from fcos.config import Config
from fcos.model_parts import BackboneConfig
from fcos.parsing import parse
from fcos.section import ConfigError
from orchestration.config import ClusterConfig, LabConfig
from orchestration.groups import ROOT, near

# Ray unpacks the checkout of a submitted job below a folder of this name, and removes it with the job.
JOB_COPIES = "working_dir_files"


def check_output(lab: LabConfig, root: Path = ROOT) -> None:
    """Raises ConfigError for an output folder in the copy of the checkout that a submitted job works in."""
    if JOB_COPIES in root.parts and lab.folder.is_relative_to(root):
        raise ConfigError(
            f"output={lab.output}: lies in the job's own copy of the checkout, which is removed with the job; "
            "give output=<folder on storage that all nodes share>"
        )


def check_arm(config: Config, cluster: ClusterConfig) -> None:
    """Raises ConfigError for weights and metrics that do not exist, norms that cannot work together, uneven shares."""
    _check_shares(config, cluster)
    backbone = config.model.backbone
    if config.schedule.best_metric is not None:
        check_metrics([config.schedule.best_metric], [config], "schedule.best_metric")
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


def _check_shares(config: Config, cluster: ClusterConfig) -> None:
    """Every number of workers that a training may come down to must share its batch evenly."""
    schedule = config.schedule
    images = schedule.batch_size // schedule.accumulate
    least = cluster.min_workers or cluster.workers
    uneven = [count for count in range(least, cluster.workers) if images % count]
    if config.task == "train" and uneven:
        raise ConfigError(
            f"cluster.min_workers={cluster.min_workers}: the {images} images of schedule.batch_size / accumulate do "
            f"not divide over {uneven[-1]} workers; every number from min_workers to workers={cluster.workers} must "
            "divide them"
        )
    if config.task == "train" and config.model.assignment.by_outputs and least < cluster.workers:
        raise ConfigError(
            f"cluster.min_workers={cluster.min_workers}: model.assignment.kind={config.model.assignment.kind} assigns "
            "by the outputs of all images of a step, which fewer workers would hold in parts; leave min_workers out"
        )


def check_metrics(metrics: Sequence[str], configs: Iterable[Config], key: str = "experiment.metrics") -> None:
    """Raises ConfigError for a metric below val/ that no evaluation gives, or none of the configs asks for."""
    from fcos.analyses.run import metric_names
    from fcos.evaluation import METRICS

    by_analysis = metric_names()
    known = [*(f"val/{name}" for name in METRICS), *by_analysis]
    asked = {analysis for config in configs for analysis in config.model.postprocess.analyses}
    for metric in metrics:
        if not metric.startswith("val/") or metric.startswith("val/class_AP/"):
            continue
        if metric not in known:
            raise ConfigError(f"{key}: {metric}: no such metric; {near(metric, known)}")
        if metric in by_analysis and by_analysis[metric] not in asked:
            analysis = by_analysis[metric]
            raise ConfigError(f"{key}: {metric}: is not measured; add {analysis} to model.postprocess.analyses")


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
