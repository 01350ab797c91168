"""Names and address forms that the writer and the reader of a tracking store share.

The writer is orchestration/, the reader is analysis/; neither imports the other. This module depends on the standard
library alone, but for the form of an SQLite address, which is SQLAlchemy's.
"""

import json
import logging
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Tag:
    """Names of the tags of MLflow runs. Plain strings: MLflow hands them to its store's driver as they are."""

    # What a run stands for.
    KIND = "fcos.kind"
    SWEEP = "fcos.sweep"
    # Random key of the sweep's folder (in its plan.json), by which later commands find its runs.
    SWEEP_KEY = "fcos.sweep_key"
    EXPERIMENT = "fcos.experiment"
    # experiment.json: the number of its parts, and in `.0`, `.1`, ... below it part by part.
    EXPERIMENT_JSON = "fcos.experiment_json"
    # Of a sweep's own run: after how many seeds a decision was taken, a JSON list of rising numbers such as [3, 6, 8].
    LOOKS = "fcos.looks"
    # Of a sweep's own run: hours that its trainings took over all commands so far, a JSON object of wall, cpu and gpu.
    SPENT = "fcos.spent"
    # Of the run of a search over several seeds: the point that leads, once its trainings have ended.
    WINNER = "fcos.winner"
    ARM = "fcos.arm"
    SEED = "fcos.seed"
    # Dotted keys that a search sampled for this trial, as JSON.
    SAMPLED = "fcos.drawn"
    # MLflow's own name for the link from a trial to the run of its sweep.
    PARENT_RUN = "mlflow.parentRunId"

    # What decides its result.
    IDENTITY = "fcos.identity"
    TRAIN_IDENTITY = "fcos.train_identity"
    TRAINING_ID = "fcos.training_id"
    CODE = "fcos.code"
    DATA = "fcos.data"
    DATA_DIGEST = "fcos.data_digest"
    VERSIONS = "fcos.versions"

    # Where it ran.
    GIT_COMMIT = "fcos.git_commit"
    GIT_DIRTY = "fcos.git_dirty"
    HARDWARE = "fcos.hardware"
    RESOURCES = "fcos.resources"
    FOLDER = "fcos.folder"
    # How many workers trained it, and why that number decides the result (empty where it does not).
    WORKERS = "fcos.workers"
    WORKERS_DECIDE = "fcos.workers_decide"
    # Micro-batches per step after the device ran out of memory; `inexact` where that changes batch norm's statistics.
    ACCUMULATE = "fcos.accumulate"
    INEXACT = "fcos.inexact"

    # Whose training it shows: run id, sweep name, and the run whose result was taken as it is.
    TRAINED_BY = "fcos.trained_by"
    TRAINED_IN = "fcos.trained_in"
    REUSED_FROM = "fcos.reused_from"
    # Of a training that took its first steps from another one: which, its Tag.TRAINING_ID, and how many steps.
    BEGUN_FROM = "fcos.begun_from"
    BEGUN_FROM_ID = "fcos.begun_from_id"
    BEGUN_AT = "fcos.begun_at_step"
    # SHA-256 of the checkpoint of another schedule that a training went on from by choice; see extension_of.
    EXTENDS = "fcos.extends"
    # What trainings have in common that differ in learning rates and number of steps alone.
    TRUNK = "fcos.trunk"
    # Why a training that was finished before was trained again, as its command stated.
    RETRAIN_REASON = "fcos.retrain_reason"
    # Id of the run that replaced this one: its training was repeated, or is another one now.
    SUPERSEDED = "fcos.superseded_by"
    # Of a run that was imported from a published archive: where it was trained, the id of the archive, its run there.
    LABORATORY = "fcos.laboratory"
    ARCHIVE = "fcos.archive"
    ARCHIVE_RUN = "fcos.archive_run"
    # Id of the run that trained it, in the store where that was.
    ARCHIVE_TRAINED_BY = "fcos.archive_trained_by"
    # Of a trial in an archive: its training done otherwise in the store of the publisher, as JSON.
    REPEATS = "fcos.repeats"

    # How it ended.
    STATUS = "fcos.status"
    NOTES = "fcos.notes"
    FAILURE = "fcos.failure"
    STOPPED = "fcos.stopped"
    # Step at which a search stopped it early.
    PRUNED = "fcos.pruned"
    BEST_STEP = "fcos.best_step"
    CHECKPOINT = "fcos.checkpoint"
    CHECKPOINT_SHA256 = "fcos.checkpoint_sha256"
    CHECKPOINT_REMOVED = "fcos.checkpoint_removed"
    # Duration of a training in one go, and the steps it took: the basis of later cost estimates.
    SECONDS = "fcos.seconds"
    STEPS_TIMED = "fcos.steps_timed"
    # How many artifacts the store did not accept.
    ARTIFACTS_MISSING = "fcos.artifacts_missing"

    # Of a version in the model registry: the metric by which its run was chosen, and the value.
    RANKED_BY = "fcos.ranked_by"
    RANKED_VALUE = "fcos.ranked_value"

    # Of an MLflow experiment, not of a run: written to see whether the store accepts anything.
    WRITE_CHECK = "fcos.write_check"


# Tags that are published; all others stay in the store: folders, checkpoints, users, keys of sweeps.
PUBLISHED_TAGS = (
    Tag.KIND, Tag.SWEEP, Tag.EXPERIMENT, Tag.LOOKS, Tag.WINNER, Tag.ARM, Tag.SEED, Tag.SAMPLED, Tag.PARENT_RUN,
    Tag.IDENTITY, Tag.TRAIN_IDENTITY, Tag.CODE, Tag.DATA, Tag.DATA_DIGEST, Tag.VERSIONS, Tag.GIT_COMMIT, Tag.GIT_DIRTY,
    Tag.HARDWARE, Tag.WORKERS, Tag.WORKERS_DECIDE, Tag.ACCUMULATE, Tag.INEXACT, Tag.TRAINED_BY, Tag.TRAINED_IN,
    Tag.REUSED_FROM, Tag.BEGUN_FROM, Tag.BEGUN_AT, Tag.EXTENDS, Tag.TRUNK, Tag.RETRAIN_REASON, Tag.SUPERSEDED,
    Tag.STATUS, Tag.NOTES, Tag.FAILURE, Tag.SPENT, Tag.STOPPED, Tag.PRUNED, Tag.BEST_STEP, Tag.CHECKPOINT_SHA256,
    Tag.LABORATORY, Tag.ARCHIVE, Tag.ARCHIVE_RUN, Tag.ARCHIVE_TRAINED_BY, Tag.REPEATS,
)  # fmt: skip


def extension_of(tags: Mapping[str, str]) -> str:
    """Return the SHA-256 of the checkpoint that a training went on from by choice; "" for one that began at step 0.

    Runs of older versions have no such tag: there it is a word that no digest is.
    """
    # Such a training has no first steps in common with any other, so that its trunk is itself.
    is_extended = bool(tags.get(Tag.TRUNK)) and tags.get(Tag.TRUNK) == tags.get(Tag.TRAIN_IDENTITY)
    return tags.get(Tag.EXTENDS) or ("unknown" if is_extended else "")


def training_of(run_id: str, tags: Mapping[str, str]) -> str:
    """Return the id of the run that did the training of a run, in the store where that was.

    An imported run is the one that was published; those that older versions imported do not record who trained them.
    """
    trained_by = tags.get(Tag.TRAINED_BY) or run_id
    of_archive = tags.get(Tag.ARCHIVE_RUN) if trained_by == run_id else None
    return tags.get(Tag.ARCHIVE_TRAINED_BY) or of_archive or trained_by


def seed_of(tags: Mapping[str, str]) -> int | None:
    """Return the seed of a run; None where it has none, or where the tag was edited and is no whole number."""
    try:
        return int(tags[Tag.SEED])
    except (KeyError, ValueError):
        return None


class RunKind:
    """Values of Tag.KIND: a sweep's own run, a trial below it, or a single run outside of any sweep."""

    SWEEP = "sweep"
    TRIAL = "trial"
    RUN = "run"


class RunStatus:
    """MLflow's states of a run; one that a search stopped early is KILLED, as its training is not whole."""

    RUNNING = "RUNNING"
    SCHEDULED = "SCHEDULED"
    FINISHED = "FINISHED"
    FAILED = "FAILED"
    KILLED = "KILLED"


class Artifact:
    """Paths of files and folders among a run's artifacts."""

    EXPERIMENT = "experiment.json"
    PLAN = "plan.json"
    # When the plan was made and changed; its form is in plan_history.py.
    PLAN_HISTORY = "plan_history.json"
    CONFIG = "config.json"
    VERSIONS = "versions.json"
    # Folder of sample detections, PNG files.
    DETECTIONS = "detections"
    # Folder of the saved evaluation, whose files are in evaluation_files.py.
    EVALUATION = "evaluation"
    # Folder of a coverage run's files, and two of these.
    COVERAGE = "coverage"
    COVERAGE_COUNTS = "coverage/coverage.json"
    CENTER_SAMPLING_MAP = "coverage/center_sampling.png"
    # Folder of the report, on the sweep's own run.
    REPORT = "report"


# Keys of a configuration that change how a training is run or watched, never what comes out: identities leave them out.
RUN_ONLY = (
    "data.root",  # the data digest stands for what lies there
    "data.cache_dir",
    "data.cache_gb",
    "data.num_workers",
    "schedule.log_every",
    "schedule.checkpoint_every",
    "schedule.keep_checkpoints",
    "schedule.best_metric",
    "schedule.keep_first_milestone",
)
# Key of a path or name of weights -> that of the digest which counts instead where there is one.
WEIGHTS_DIGESTS: Mapping[str, str] = {
    "model.weights": "model.weights_sha256",
    "model.backbone.weights": "model.backbone.weights_sha256",
}
# Longest value of a tag that a store takes.
MAX_TAG_CHARS = 5000
# The arm of the starting point, with which the winner of a search is compared.
BASE_ARM = "base"


class MetricPrefix:
    """Prefixes of metric names, one for each group of metrics; fcos/metrics.py has the names."""

    VAL = "val/"
    CLASS_AP = "val/class_AP/"
    # What a detector costs: counts and milliseconds, no fractions.
    COST = "val/cost/"
    TRAIN = "train/"
    COVERAGE = "coverage/"
    # Counts among the coverage metrics; the others are fractions.
    COVERAGE_COUNT = "coverage/num_"
    # Of the machine and not of the training; MLflow's pages look for this prefix.
    SYSTEM = "system/"


def split_experiment(text: str) -> dict[str, str]:
    """Return experiment.json as the tags of a sweep's run, in parts: a report must not depend on an artifact alone."""
    parts = [text[first : first + MAX_TAG_CHARS] for first in range(0, len(text), MAX_TAG_CHARS)]
    named = {f"{Tag.EXPERIMENT_JSON}.{number}": part for number, part in enumerate(parts)}
    return {Tag.EXPERIMENT_JSON: str(len(parts)), **named}


def join_experiment_tags(tags: Mapping[str, str]) -> bytes | None:
    """Join experiment.json from the tags that `split_experiment` made, None where one is missing."""
    count = tags.get(Tag.EXPERIMENT_JSON, "")
    parts = [tags.get(f"{Tag.EXPERIMENT_JSON}.{index}") for index in range(int(count) if count.isdecimal() else 0)]
    present = [part for part in parts if part is not None]
    return "".join(present).encode() if parts and len(present) == len(parts) else None


def param_text(value: Any) -> str:
    """Return a config value as MLflow's param: text unchanged, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def parse_param(text: str) -> Any:
    """Return the config value that a param was logged from; text that is no JSON stays text.

    Earlier versions logged None, True and False as Python writes them.
    """
    if text == "None":
        return None
    try:
        return json.loads(text.lower() if text in ("True", "False") else text)
    except (ValueError, RecursionError):
        return text


LIBRARIES = ("mlflow", "alembic", "sqlalchemy", "urllib3", "huey")


def public_uri(uri: str) -> str:
    """Return the address of a store without user name, password and settings: what may be shown."""
    scheme, mark, rest = uri.partition("://")
    rest = rest.partition("?")[0]
    host, slash, path = rest.partition("/")
    if "@" in path and "@" not in host and not re.fullmatch(r"[^:]*(:\d*)?|\[.*\](:\d*)?", host):
        # What looks like the host is a user and half a password, which holds a slash.
        return f"{scheme}{mark}{rest.rpartition('@')[2]}"
    return f"{scheme}{mark}{host.rpartition('@')[2]}{slash}{path}" if mark else uri


def is_sqlite(uri: str) -> bool:
    """Return whether an address names SQLite, in whatever form."""
    return re.match(r"sqlite[+:]", uri, re.IGNORECASE) is not None


def sqlite_uri(file: Path) -> str:
    """Return the address of an SQLite file, whatever characters its path has."""
    from sqlalchemy.engine import URL

    return URL.create("sqlite", database=str(file)).render_as_string()


def default_file(output: Path) -> Path:
    """Return the SQLite file of the store in an output folder."""
    return output / "mlflow.db"


def default_uri(output: Path) -> str:
    """Return the address of the SQLite store in an output folder."""
    return sqlite_uri(default_file(output))


def client_uri(uri: str) -> str:
    """Return an address in the form that MLflow is given.

    With the driver's name: for a plain `sqlite:///` MLflow makes the folder of the file from the address as it is
    written, `%25` and all.
    """
    return f"sqlite+pysqlite:{uri.partition(':')[2]}" if is_sqlite(uri) else uri


def quiet_libraries() -> None:
    """Keep what MLflow and its libraries print and log off the console.

    Call it after MLflow is imported, which sets them up: the core does not import it.
    """
    if mlflow_logging := sys.modules.get("mlflow.utils.logging_utils"):
        mlflow_logging.disable_logging()
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        logger.handlers = [logging.NullHandler()]
        logger.propagate = False
        warnings.filterwarnings("ignore", module=rf"{name}\b")
