"""Checks of a config before Ray starts, for mistakes that would end a training at its first step."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from fcos.config.run import Config
from fcos.errors import ConfigError
from fcos.installation import ROOT
from fcos.storage.store_conventions import MetricPrefix
from orchestration.config.experiment import ExperimentConfig
from orchestration.config.groups import suggest_or_list
from orchestration.config.schema import ClusterConfig, LabConfig
from orchestration.experiment.data import PreparedDatasets
from orchestration.experiment.weights import check_weights

# Folder in which Ray unpacks the checkout of a submitted job; deleted with the job.
JOB_COPIES = "working_dir_files"


def check_job_output(lab: LabConfig, root: Path = ROOT) -> None:
    """Raise ConfigError for an output folder inside a submitted job's copy of the checkout."""
    if JOB_COPIES in root.parts and lab.folder.is_relative_to(root):
        raise ConfigError(
            f"output={lab.output}: lies in the job's own copy of the checkout, which is removed with the job; "
            "give output=<folder on storage that all nodes share>"
        )


def check_arm(config: Config, cluster: ClusterConfig) -> None:
    """Raise ConfigError for unknown weights and metrics, unsupported norms, and uneven batch shares."""
    _check_batch_shares(config, cluster)
    backbone = config.model.backbone
    _check_best_metric(config)
    check_weights(config)
    model = config.model
    norms = {"model.backbone.norm": backbone.norm, "model.fpn.norm": model.fpn.norm, "model.head.norm": model.head.norm}
    synchronised = [key for key, norm in norms.items() if norm == "sync_bn"]
    if synchronised and cluster.workers > 1 and cluster.device == "cpu":
        raise ConfigError(
            f"{synchronised[0]}=sync_bn: torch synchronises batch norm between CUDA devices only, not between "
            f"cluster.workers={cluster.workers} with cluster.device=cpu; use bn (in the head also gn)"
        )


def _check_best_metric(config: Config) -> None:
    """Raise ConfigError for schedule.best_metric that is not an evaluation metric with a better direction."""
    from fcos.metrics import better_end

    metric = config.schedule.best_metric
    if metric is None or config.task != "train":
        return
    if metric.startswith(MetricPrefix.TRAIN):
        raise ConfigError(
            f"schedule.best_metric: {metric}: must begin with {MetricPrefix.VAL}, as the best is one of the evaluations"
        )
    check_metrics([metric], [config], "schedule.best_metric")
    if better_end(metric) is None:
        raise ConfigError(f"schedule.best_metric: {metric}: neither more nor less of it is better; name another metric")


def _check_batch_shares(config: Config, cluster: ClusterConfig) -> None:
    """Raise ConfigError where some number of workers from min_workers to workers does not divide the batch."""
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
    """Raise ConfigError for a metric that no config reports; class metrics are checked later (`check_values`)."""
    from fcos.metrics import CLASS_PREFIX, analysis_metrics, reported_metrics

    configs = tuple(configs)
    known = tuple(dict.fromkeys(name for config in configs for name in reported_metrics(config)))
    by_analysis = analysis_metrics(configs)
    trains = any(config.task == "train" for config in configs)
    for metric in metrics:
        if metric in known or (trains and metric.startswith(CLASS_PREFIX)):
            continue
        if metric in by_analysis:
            analysis = by_analysis[metric]
            raise ConfigError(f"{key}: {metric}: is not measured; add {analysis} to model.postprocess.analyses")
        names = tuple(dict.fromkeys((*known, *by_analysis)))
        what = "no such metric" if trains else "no such metric of task=coverage"
        raise ConfigError(f"{key}: {metric}: {what}; {suggest_or_list(metric, names)}")


def check_values(lab: LabConfig, configs: Sequence[Config], data: PreparedDatasets) -> list[str]:
    """Return notes on the experiment's metrics that have no value on the prepared data.

    Raises ConfigError for unknown class names, and for a metric without a value that a search optimizes or by which
    checkpoints are kept.
    """
    for config in configs:
        if config.schedule.best_metric is not None and config.task == "train":
            _check_value("schedule.best_metric", config.schedule.best_metric, [config], lab, data)
    experiment = lab.experiment
    if experiment is None:
        return []
    if experiment.search is not None:
        key = "objectives" if experiment.search.objectives else "metric"
        for metric in experiment.search.metrics:
            _check_value(f"experiment.search.{key}", metric, configs, lab, data)
    elif lab.keep.trained is not None:
        _check_value("experiment.metrics, by which keep.trained ranks", experiment.metrics[0], configs, lab, data)
    reasons = {
        metric: _without_value("experiment.metrics", metric, configs, lab, data)
        for metric in requested_metrics(experiment)
    }
    return [f"{metric} will have no value: {reason}" for metric, reason in reasons.items() if reason is not None]


def requested_metrics(experiment: ExperimentConfig) -> tuple[str, ...]:
    """Return the metrics of an experiment; none for a search that names none, which reports its own metric."""
    given = experiment.search is None or "metrics" in experiment.model_fields_set
    return experiment.metrics if given else ()


def _check_value(key: str, metric: str, configs: Sequence[Config], lab: LabConfig, data: PreparedDatasets) -> None:
    reason = _without_value(key, metric, configs, lab, data)
    if reason is not None:
        raise ConfigError(f"{key}: {metric} will have no value: {reason}; name another metric")


def _without_value(
    key: str, metric: str, configs: Sequence[Config], lab: LabConfig, data: PreparedDatasets
) -> str | None:
    """Return why no training will have a value of a metric; None where at least one will.

    Raises ConfigError for a class that is in none of their data sets.
    """
    from fcos.metrics import CLASS_PREFIX, MEMORY

    if metric == MEMORY and lab.cluster.device == "cpu":
        return "the memory of a GPU is measured, and cluster.device=cpu"
    infos = [data.info(config) for config in configs]
    classes = tuple(dict.fromkeys(name for info in infos for name in info.class_keys or ()))
    if metric.startswith(CLASS_PREFIX) and classes and metric not in classes:
        raise ConfigError(f"{key}: {metric}: the data have no such class; {suggest_or_list(metric, classes)}")
    if infos and all(metric in info.metrics_without_truth for info in infos):
        what = "class" if metric.startswith(CLASS_PREFIX) else "size"
        return f"the validation images have no box of that {what}"
    return None


def check_ranking(lab: LabConfig) -> None:
    """Raise ConfigError where keep.trained cannot rank trainings, as the metric has no better direction."""
    from fcos.metrics import better_end

    if lab.keep.trained is None or lab.experiment is None:
        return
    if lab.task == "coverage":
        raise ConfigError(
            f"keep.trained={lab.keep.trained}: has no effect with task=coverage, which keeps no checkpoint"
        )
    metric = lab.experiment.metrics[0]
    if lab.experiment.search is None and better_end(metric) is None:
        raise ConfigError(
            f"keep.trained={lab.keep.trained}: ranks by the first of experiment.metrics, and neither more nor less of "
            f"{metric} is better; put another metric first"
        )
