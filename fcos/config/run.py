"""Schema of a whole run: detector, data, schedule; unknown keys are errors with suggestions."""

from typing import Literal

from pydantic import Field, model_validator

from fcos.config.augmentation import AugmentationConfig
from fcos.config.base import Section
from fcos.config.choices import (
    AnchorRounding,
    Crowds,
    Decay,
    ExifOrientation,
    LowQuality,
    OnBadImage,
    Optimizer,
    Precision,
    Rounding,
    Split,
    Warmup,
)
from fcos.config.model import ModelConfig
from fcos.config.paths import AbsolutePath, FolderOrAddress
from fcos.config.seeds import Seeds, SeedsConfig
from fcos.errors import ConfigError
from fcos.storage.bucket.address import Address, is_address

# Largest image by default, in millions of pixels: what Pillow itself takes for an attack on memory, rounded up.
MAX_MEGAPIXELS = 179.0


class SyntheticConfig(Section):
    """Synthetic images: shapes of five classes on a textured background, log-uniform sizes, bounded overlap."""

    # Width and height of every image in pixels.
    image_size: int = Field(128, ge=32)
    # Number of images to train on.
    train_images: int = Field(1500, ge=1)
    # Number of images to validate on.
    val_images: int = Field(300, ge=1)
    # Largest number of shapes in an image.
    max_objects: int = Field(5, ge=1)
    # Range of sqrt(area) in pixels.
    object_size: tuple[float, float] = (12.0, 80.0)
    # Largest IoU of two shapes of an image.
    max_overlap: float = Field(0.35, ge=0, le=1)
    # Seed by which the images are drawn, the same for all seeds of a sweep.
    seed: int = 0

    @model_validator(mode="after")
    def _check(self) -> "SyntheticConfig":
        low, high = self.object_size
        if not 4 <= low <= high <= self.image_size:
            raise ValueError(f"object_size={[low, high]}: must rise and lie within 4 and image_size={self.image_size}")
        return self


class SplitConfig(Section):
    """Annotation file and image folder of a split."""

    # Relative paths are taken from data.root.
    annotations: str
    # Folder of its images, likewise.
    images: str


class DataConfig(Section):
    """The data set, its cache, and how samples are made of it."""

    # Drawn shapes, or files in COCO format.
    name: Literal["synthetic", "coco"]
    synthetic: SyntheticConfig | None = None
    # A folder, made absolute when the configuration is read, as is cache_dir; or the address of one in a bucket.
    root: FolderOrAddress | None = None
    train: SplitConfig | None = None
    val: SplitConfig | None = None
    # Folder of synthetic data sets and decoded images; null is the user's cache folder.
    cache_dir: AbsolutePath | None = None
    # Disk space for decoded images, shared by all runs on a machine; other splits are decoded when they are read.
    cache_gb: float = Field(10.0, ge=0)
    # Short sides, one of which is sampled per image in training; evaluation uses the largest. null keeps every image
    # at its own size.
    short_sides: tuple[int, ...] | None = None
    # Largest length in pixels of the longer side of a resized image, to which the short side gives way; goes with
    # short_sides.
    long_side: int | None = Field(None, ge=32)
    # Probability that a training sample is mirrored.
    flip: float = Field(0.5, ge=0, le=1)
    augmentation: AugmentationConfig = AugmentationConfig()
    # Portrait and landscape images never share a batch.
    group_by_aspect: bool = True
    # Loader processes per worker; 0 loads in the training process.
    num_workers: int = Field(0, ge=0)
    # Whether an image that does not open ends the command before anything trains, or is left out, counted and
    # named.
    on_bad_image: OnBadImage = "error"
    # Whether boxes with iscrowd=1 are neither trained on nor counted as objects in evaluation, as in COCO, or are
    # objects like all others in both.
    crowds: Crowds = "ignore"
    # Whether images are taken as stored, as COCO's own tools do, or turned by their EXIF orientation; boxes and
    # annotated sizes are then those of the turned image.
    exif_orientation: ExifOrientation = "ignore"
    # Images of more million pixels are refused by their header, before they are decoded.
    max_megapixels: float = Field(MAX_MEGAPIXELS, gt=0)
    # Maximum number of images, for quick tests; null uses all.
    limit_train: int | None = Field(None, ge=1)
    # The same for images to validate on.
    limit_val: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        if self.name == "coco":
            if self.train is None or self.val is None:
                raise ValueError("train and val must each name annotations and images")
        elif self.synthetic is None:
            raise ValueError("synthetic is missing: data=synthetic needs the settings of the drawn shapes")
        if (self.short_sides is None) != (self.long_side is None):
            raise ValueError("short_sides and long_side go together: give both or neither")
        if self.name == "synthetic" and (self.root, self.train, self.val) != (None, None, None):
            raise ValueError("root, train and val have no effect on drawn shapes; did you mean data=coco?")
        if self.name == "coco" and self.synthetic is not None:
            raise ValueError("synthetic has no effect on data=coco")
        if self.root is not None and is_address(self.root):
            try:
                Address.parse(self.root)
            except ConfigError as error:
                raise ValueError(f"root={error}") from None
        if self.short_sides is not None and self.long_side is not None and self.long_side < max(self.short_sides):
            raise ValueError(f"long_side={self.long_side}: must not be below short_sides={list(self.short_sides)}")
        if self.short_sides is not None and (not self.short_sides or min(self.short_sides) < 32):
            raise ValueError(f"short_sides={list(self.short_sides)}: needs at least one side, none below 32")
        return self


class ScheduleConfig(Section):
    """Optimizer steps, learning rate, precision, evaluation and checkpoints."""

    # Images per optimizer step, over all workers and accumulated micro-batches.
    batch_size: int = Field(ge=1)
    # Number of micro-batches that a step adds up the gradients of; must divide batch_size. Less memory, same
    # step.
    accumulate: int = Field(1, ge=1)
    # Total number of optimizer steps.
    steps: int = Field(ge=1)
    # SGD with momentum (the papers), or AdamW.
    optimizer: Optimizer
    # null: lr_per_16_images * batch_size / 16, the linear scaling rule.
    lr: float | None = Field(None, gt=0)
    # Learning rate at 16 images a step, scaled with batch_size; without effect where lr is given.
    lr_per_16_images: float = Field(0.01, gt=0)
    # sgd: momentum of the gradients.
    momentum: float = Field(0.9, ge=0, lt=1)
    # Weight decay of the optimizer.
    weight_decay: float = Field(1e-4, ge=0)
    # Whether norms and biases (parameters of one axis) decay too.
    decay_one_axis: bool = True
    # The backbone's learning rate relative to the others': below 1 it keeps more of its pretrained weights.
    backbone_lr_factor: float = Field(1.0, gt=0)
    # Rises evenly from warmup_factor, or stays at it until warmup_steps.
    warmup: Warmup = "linear"
    # Length of the warm-up in optimizer steps; 0 is none.
    warmup_steps: int = Field(0, ge=0)
    # Share of the learning rate that the warm-up begins with.
    warmup_factor: float = Field(1 / 3, gt=0, le=1)
    # How the rate falls: at milestones, by a cosine to zero at the last step, or not at all.
    decay: Decay = "step"
    # decay=step: after these steps the rate is multiplied by decay_factor.
    milestones: tuple[int, ...] = ()
    # decay=step: factor of the rate at each milestone.
    decay_factor: float = Field(0.1, gt=0, le=1)
    # Largest norm of the gradients of a step, to which longer ones are shortened; null clips none.
    clip_norm: float | None = Field(None, gt=0)
    # Decay of the moving average of the weights that is evaluated; null evaluates the weights themselves.
    ema: float | None = Field(None, gt=0, lt=1)
    # fp16 scales the loss, and skips steps whose gradients overflow.
    precision: Precision = "fp32"
    # Order of the tensors in memory: channels innermost (true), or rows.
    channels_last: bool = False
    # torch.compile for detector and losses. Training batches of an orientation are then padded to one size, so that
    # there are at most two shapes.
    compile: bool = False
    # Use deterministic kernels only; false allows a GPU faster ones.
    deterministic: bool = True
    # Steps between two points of the training curves.
    log_every: int = Field(20, ge=1)
    # Steps between two evaluations; null evaluates after the last step alone.
    eval_every: int | None = Field(None, ge=1)
    # Steps between two checkpoints; the last step always leaves one.
    checkpoint_every: int = Field(500, ge=1)
    # Number of newest checkpoints to keep.
    keep_checkpoints: int = Field(2, ge=1)
    # Metric (of errors the lowest value) whose best checkpoint is kept too, by the evaluation of the first arm;
    # null keeps the newest ones only.
    best_metric: str | None = "val/AP"
    # decay=step: keep the checkpoint at the first milestone apart from these, from which a longer schedule goes on.
    keep_first_milestone: bool = True

    @property
    def kept_milestone(self) -> int | None:
        """The step whose checkpoint is kept apart from the newest ones, or None."""
        return self.milestones[0] if self.decay == "step" and self.keep_first_milestone else None

    @property
    def resolved_lr(self) -> float:
        return self.lr if self.lr is not None else self.lr_per_16_images * self.batch_size / 16

    @model_validator(mode="after")
    def _check(self) -> "ScheduleConfig":
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones={list(self.milestones)}: must rise")
        if self.milestones and self.milestones[0] < 1:
            raise ValueError(f"milestones={list(self.milestones)}: must be steps, 1 or more")
        if self.warmup_steps >= self.steps:
            raise ValueError(f"warmup_steps={self.warmup_steps}: must be less than steps={self.steps}")
        if self.decay == "step" and not self.milestones:
            raise ValueError("decay=step needs milestones; for a constant rate give decay=none")
        if self.decay != "step" and self.milestones:
            raise ValueError(f"milestones={list(self.milestones)} have no effect with decay={self.decay}")
        if self.milestones and self.milestones[-1] >= self.steps:
            raise ValueError(f"milestones={list(self.milestones)}: must be less than steps={self.steps}")
        if self.batch_size % self.accumulate:
            raise ValueError(f"accumulate={self.accumulate} does not divide batch_size={self.batch_size}")
        return self


class CoverageConfig(Section):
    """What task=coverage computes: statistics of an assignment without training."""

    # Split whose boxes are counted.
    split: Split = "val"
    # fcos takes model.levels and model.assignment; retinanet its own anchors on P3 to P7.
    assignment: Literal["fcos", "retinanet"] = "fcos"
    # How the sides of a resized image are rounded: int(side + 0.5) as detectron2, int(side) as maskrcnn-benchmark.
    rounding: Rounding = "half_up"
    # retinanet only: whose anchors to use.
    anchors: AnchorRounding = "detectron2"
    # retinanet only: which matches below an IoU of 0.5 count because they are the best of a box.
    low_quality: LowQuality = "all"
    # Search the ends of model.assignment.ranges for the highest objective, and report that.
    search_ranges: bool = False
    # objective = recall - ambiguity_weight * ambiguous + evenness_weight * evenness, all of them fractions.
    ambiguity_weight: float = Field(default=1.0, ge=0)
    # Weight of the evenness of the levels in the objective.
    evenness_weight: float = Field(default=0.1, ge=0)


class Config(Section):
    """One run on one data set: the training of a detector, or statistics of its assignment."""

    # Train a detector, or count what its assignment covers without training.
    task: Literal["train", "coverage"] = "train"
    model: ModelConfig
    data: DataConfig
    schedule: ScheduleConfig
    coverage: CoverageConfig = CoverageConfig()
    # Seed of all sources of chance in a single training; an experiment has seeds of its own.
    seed: int = Field(0, ge=0)
    seeds: SeedsConfig = SeedsConfig()

    @property
    def resolved_seeds(self) -> Seeds:
        """The seed that each source of chance draws from."""
        own, seed = self.seeds, self.seed
        return Seeds(
            weights=seed if own.weights is None else own.weights,
            order=seed if own.order is None else own.order,
            augmentation=seed if own.augmentation is None else own.augmentation,
        )

    @model_validator(mode="after")
    def _check_root(self) -> "Config":
        rules = (self.model.assignment.level_rule, self.model.assignment.tie_break)
        if self.task == "coverage" and rules != ("longest_offset", "smallest_area"):
            raise ValueError(
                f"model.assignment: level_rule={rules[0]}, tie_break={rules[1]}: task=coverage counts by "
                "longest_offset and smallest_area alone"
            )
        if self.task == "train" and self.data.name == "coco" and self.data.root is None:
            raise ValueError("data.root is missing: data=coco needs data.root=<folder with annotations and images>")
        return self

    @model_validator(mode="after")
    def _check_assignment(self) -> "Config":
        kind = self.model.assignment.kind
        if self.task == "coverage" and self.coverage.assignment == "fcos" and kind not in ("fcos", "center"):
            raise ValueError(
                f"model.assignment.kind={kind}: task=coverage counts the assignments of kind=fcos and kind=center; "
                "for RetinaNet's anchors give coverage.assignment=retinanet"
            )
        if self.task == "coverage" and self.model.targets_per_location > 1:
            raise ValueError(
                f"model.targets_per_location={self.model.targets_per_location}: task=coverage counts one box for each "
                "location; leave it out"
            )
        if self.task == "train" and self.model.assignment.by_outputs and self.schedule.accumulate > 1:
            raise ValueError(
                f"schedule.accumulate={self.schedule.accumulate}: model.assignment.kind={kind} assigns by the outputs "
                "of all images of a step, which micro-batches never hold at once; set it to 1"
            )
        return self
