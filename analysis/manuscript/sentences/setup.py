"""Sentences on what was trained: question and arms, model, data, schedule, evaluation, software and hardware."""

from collections.abc import Iterator
from dataclasses import dataclass

from analysis.formatting import format_count, join_words, shorten_metric
from analysis.manuscript.collect import SweepFacts
from analysis.manuscript.data_splits import TRAINING, VALIDATION
from analysis.manuscript.sentences.settings import SettingTexts, describe_arm
from analysis.manuscript.statements import Section, Statement
from fcos.storage.store_conventions import MetricPrefix

# Arms whose settings are given one by one.
MOST_ARMS = 12
AUGMENTATION = "data.augmentation."
PARAMETERS = f"{MetricPrefix.COST}parameters"


@dataclass(frozen=True)
class TrainingSetup:
    """The question, what was trained, on what, and how it was evaluated."""

    question: Section
    model: Section
    data: Section
    training: Section
    evaluation: Section

    @property
    def sections(self) -> tuple[Section, ...]:
        """All of it, in the order of a text."""
        return (self.question, self.model, self.data, self.training, self.evaluation)


def describe_setup(facts: SweepFacts, settings: SettingTexts) -> TrainingSetup:
    """Return what was trained. settings: of the finished trials that it is about."""
    return TrainingSetup(
        question=Section("Question", tuple(_describe_question(facts))),
        model=Section("Model", tuple(_describe_model(facts, settings))),
        data=Section("Data", tuple(_describe_data(facts, settings))),
        training=Section("Training", tuple(_describe_training(facts, settings))),
        evaluation=Section("Evaluation", tuple(_describe_evaluation(facts, settings))),
    )


def _describe_question(facts: SweepFacts) -> Iterator[Statement]:
    experiment, own = facts.sweep.experiment, (facts.sweep.run_id,)
    if experiment.claim:
        yield Statement(f"The claim under test: {facts.clean(experiment.claim.strip())}", own)
    if experiment.factors:
        factors = join_words([f"{name} ({', '.join(levels)})" for name, levels in experiment.factors.items()])
        yield Statement(f"The experiment combines the levels of {factors}; each combination is an arm.", own)
        return
    if experiment.baseline is None:
        return
    arms = list(experiment.arms.items())
    count = format_count(len(arms), "arm")
    yield Statement(f"{count} (baseline: {experiment.baseline}) share everything but these settings.", own)
    for arm, changes in arms[:MOST_ARMS]:
        yield Statement(f"{arm}: {describe_arm(changes)}.", own)
    if len(arms) > MOST_ARMS:
        rest = format_count(len(arms) - MOST_ARMS, "more arm")
        yield Statement(f"{rest} are in experiment.json of the sweep's run.", own)


def _describe_model(facts: SweepFacts, settings: SettingTexts) -> Iterator[Statement]:
    runs = facts.finished_runs
    detector = settings.fill(
        "the backbone {model.backbone.name}",
        "pretrained weights: {model.backbone.weights}",
        "backbone norm {model.backbone.norm}",
        "a feature pyramid of {model.fpn.channels} channels on levels {model.levels}",
        "heads of {model.head.num_convs} convolutions with norm {model.head.norm}",
        "{model.head.regression} regression",
        "quality output {model.head.quality}",
    )
    if detector:
        yield Statement(f"The detector is FCOS with {detector}.", runs)
    targets = settings.fill(
        "assignment {model.assignment.kind}",
        "level ranges {model.assignment.ranges}",
        "center-sampling radius {model.assignment.center_sampling_radius}",
        "regression loss {model.loss.regression}",
    )
    if targets:
        yield Statement(f"Targets and losses: {targets}.", runs)
    parameters = {trial.metrics.get(PARAMETERS) for trial in facts.finished} - {None}
    if parameters:
        counts = join_words([f"{count:,.0f}" for count in sorted(each for each in parameters if each is not None)])
        yield Statement(f"Parameters: {counts}.", runs)


def _describe_data(facts: SweepFacts, settings: SettingTexts) -> Iterator[Statement]:
    runs = facts.finished_runs
    origins = [trial.provenance for trial in facts.finished]
    names = sorted({origin.data for origin in origins} - {""})
    digests = sorted({origin.data_digest for origin in origins} - {""})
    named = f"The data set is {join_words(names)}" if names else "The name of the data set is not recorded"
    digest = f"SHA-256 of its annotations and images {join_words(digests)}" if digests else "its digest is not recorded"
    yield Statement(f"{named}; {digest}.", runs)
    if names == ["synthetic"] and (
        drawn := settings.fill(
            "{data.synthetic.train_images} images to train on and {data.synthetic.val_images} to validate on",
            "of {data.synthetic.image_size} pixels a side",
        )
    ):
        yield Statement(f"It is drawn shapes: {drawn}.", runs)
    yield from _describe_splits(facts, settings)
    for key, split in (("data.limit_train", "training"), ("data.limit_val", "validation")):
        if (limit := settings.text(key)) not in (None, "none"):
            yield Statement(f"At most {limit} of the {split} images were used.", runs)
    yield from _describe_samples(facts, settings)


def _describe_splits(facts: SweepFacts, settings: SettingTexts) -> Iterator[Statement]:
    """Yield images, boxes and classes of each split; of drawn shapes the settings have the images too."""
    for split in facts.splits:
        counts = format_count(split.images, "image")
        if split.boxes is not None:
            boxes = f"{split.boxes} box{'' if split.boxes == 1 else 'es'}"
            counts += f" with {boxes}{f', {split.crowd_boxes} of them ignored as crowds' if split.crowd_boxes else ''}"
        classes = f"{split.classes} class{'' if split.classes == 1 else 'es'}"
        yield Statement(f"The {split.name} split has {counts}, of {classes}.", split.runs)
    if not settings.keys_below("data.synthetic."):
        recorded = {split.name for split in facts.splits}
        missing = [name for name in (TRAINING, VALIDATION) if name not in recorded]
        settings.missing |= dict.fromkeys(f"number of {name} images" for name in missing)


def _describe_samples(facts: SweepFacts, settings: SettingTexts) -> Iterator[Statement]:
    """Yield how an image becomes a sample: its size, its flip, its augmentation."""
    runs = facts.finished_runs
    if settings.is_unset("data.short_sides"):
        yield Statement("Images keep their own size.", runs)
    elif resized := settings.fill("short side one of {data.short_sides}", "long side at most {data.long_side}"):
        yield Statement(f"Images are resized to {resized} pixels; evaluation takes the largest short side.", runs)
    used = [key for key in settings.keys_below(AUGMENTATION) if not settings.is_unset(key)]
    used = [key for key in used if key != f"{AUGMENTATION}min_visible"]
    listed = [f"{key.removeprefix(AUGMENTATION)} {settings.text(key)}" for key in used]
    flip = settings.fill("horizontal flip with probability {data.flip}")
    if flip or listed:
        yield Statement(f"Augmentation of training: {'; '.join([*filter(None, [flip]), *listed])}.", runs)


def _describe_training(facts: SweepFacts, settings: SettingTexts) -> Iterator[Statement]:
    runs = facts.finished_runs
    optimizer = settings.text("schedule.optimizer")
    schedule = settings.fill(
        "{schedule.steps} steps of {schedule.batch_size} images",
        "optimizer {schedule.optimizer}",
        *(["momentum {schedule.momentum}"] if optimizer == "sgd" else []),
        "weight decay {schedule.weight_decay}",
    )
    if schedule:
        yield Statement(f"Each training takes {schedule}.", runs)
    rate = _learning_rate(settings)
    rates = settings.fill(
        *([] if rate is None else [f"peak {rate}"]),
        "{schedule.warmup} warm-up over {schedule.warmup_steps} steps from a factor of {schedule.warmup_factor}",
        "decay {schedule.decay}",
        *([] if settings.is_unset("schedule.milestones") else ["at steps {schedule.milestones}"]),
        *([] if settings.is_unset("schedule.clip_norm") else ["gradients clipped at a norm of {schedule.clip_norm}"]),
    )
    if rates:
        yield Statement(f"Learning rate: {rates}.", runs)
    numbers = settings.fill("precision {schedule.precision}", "deterministic kernels {schedule.deterministic}")
    if numbers:
        yield Statement(f"Numbers: {numbers}.", runs)
    if not settings.is_unset("schedule.ema") and (ema := settings.text("schedule.ema")):
        yield Statement(f"Evaluated is a moving average of the weights with decay {ema}.", runs)


def _learning_rate(settings: SettingTexts) -> str | None:
    """Return the learning rate, also where it is given for 16 images; None where it is not recorded or varies."""
    if (rate := settings.number("schedule.lr")) is not None:
        return f"{rate:g}"
    for_16, batch = settings.number("schedule.lr_per_16_images"), settings.number("schedule.batch_size")
    if not settings.is_unset("schedule.lr") or for_16 is None or batch is None:
        settings.text("schedule.lr_per_16_images")
        return None
    return f"{for_16 * batch / 16:g} ({for_16:g} for 16 images, scaled by the batch)"


def _describe_evaluation(facts: SweepFacts, settings: SettingTexts) -> Iterator[Statement]:
    runs = facts.finished_runs
    metrics = [f"{shorten_metric(metric)} ({metric})" for metric in facts.sweep.experiment.metrics]
    values = facts.document.final_values
    steps = sorted({int(step) for step in values.loc[values["metric"] == facts.metric, "step"].dropna()})
    at = f"at step {join_words(steps)}, the last that was evaluated" if steps else "at the last step"
    yield Statement(
        f"Metrics are {join_words(metrics)} on the validation images {at}; no checkpoint is chosen by its result.",
        runs,
    )
    inference = settings.fill(
        "score threshold {model.postprocess.score_threshold}",
        "NMS at an IoU of {model.postprocess.nms_threshold}",
        "at most {model.postprocess.max_detections} detections for an image",
        "quality in the score: {model.postprocess.quality}",
    )
    if inference:
        yield Statement(f"Inference: {inference}.", runs)


def describe_environment(facts: SweepFacts) -> Section:
    """Return commits, versions and hardware that the numbers come from."""
    runs, origins = facts.finished_runs, [trial.provenance for trial in facts.finished]
    commits = sorted({origin.git_commit for origin in origins} - {"", "unknown"})
    dirty = sum(origin.git_dirty for origin in origins)
    statements = [
        Statement(f"The code is that of commit {join_words(commits)} of FCOS Lab.", runs)
        if commits
        else Statement("The commit of the code is not recorded.", runs)
    ]
    if dirty:
        statements.append(Statement(f"{format_count(dirty, 'run')} had uncommitted changes to the code.", runs))
    for versions in facts.document.versions:
        listed = join_words([f"{name} {version}" for name, version in versions.packages.items()])
        statements.append(Statement(f"Versions of {versions.trials}: {listed}.", runs))
    machines = sorted({origin.hardware for origin in origins} - {""})
    resources = sorted({run.resources for run in facts.runs.values() if run.run_id in runs} - {""})
    hardware = join_words(machines) if machines else "not recorded"
    reserved = f"; a training reserved {join_words(resources)} (workers x CPUs, GPUs, device)" if resources else ""
    statements.append(Statement(f"Hardware: {hardware}{reserved}.", runs))
    return Section("Software and hardware", tuple(statements))
