"""Data made ready once, in the driver, before anything else starts."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.console import Console
from rich.progress import Progress

from fcos.config.run import Config


class DataFacts(NamedTuple):
    """What is known of data that are ready."""

    digest: str
    # Remarks such as dropped boxes.
    notes: tuple[str, ...] = ()
    # The metric key of each class; None where no detector is evaluated on the data.
    class_keys: tuple[str, ...] | None = None
    # Metric keys that have no value, as the validation images have no box for them.
    without_truth: frozenset[str] = frozenset()


# Makes a config's data ready; gives its facts, of which the digest and the remarks are needed.
PrepareData = Callable[[Config], DataFacts | tuple[str, tuple[str, ...]]]


def prepare_data(config: Config, console: Console, workers: int, *, here: bool = True) -> DataFacts:
    """Draw or check the data of a config; returns what is known of them.

    Raises ConfigError naming the file and the rule for data that cannot be used, for a batch that cannot be made of
    them, and where trainings are `here`, on this machine, for shared memory that cannot hold what loaders need.
    """
    from fcos.coverage.run import read_source
    from fcos.data.loader import check_batch
    from fcos.data.prepare import make_dataset, prepare, splits_with_masks
    from fcos.data.shared_memory import check_shared_memory
    from fcos.evaluation.coco import class_keys, keys_without_ground_truth

    with Progress(console=console, transient=True, disable=not console.is_terminal) as bars:
        tasks = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
                if not console.is_terminal:
                    console.print(f"{what} ..." if total == 1 else f"{what} ({total}) ...", highlight=False)
            bars.update(tasks[what], completed=done, total=total)

        if config.task == "coverage":
            source = read_source(config, show)
            return DataFacts(source.digest, source.notes)
        assignment = config.model.assignment
        masks = splits_with_masks(assignment, [config.model.postprocess], training=True)
        ready = prepare(config.data, box_convention=assignment.corners, masks=masks, progress=show)
    schedule = config.schedule
    check_batch(schedule.batch_size, schedule.accumulate, workers, len(ready.train.annotations))
    if here:
        datasets = [make_dataset(ready, name, config.data, training=name == "train", seed=0) for name in ready.splits]
        images = schedule.batch_size // schedule.accumulate // workers
        check_shared_memory(datasets, config.data, images=images, divisor=config.model.size_divisor, workers=workers)
    val = ready.val.annotations
    return DataFacts(ready.digest, ready.notes, class_keys(val), keys_without_ground_truth(val))


@dataclass
class DataDigests:
    """Makes data ready, once for all configs that share it, and remembers what is known of them."""

    prepare_data: PrepareData
    _known: dict[str, DataFacts] = field(default_factory=dict)

    def of(self, config: Config) -> str:
        """The digest of a config's data."""
        return self.facts(config).digest

    def facts(self, config: Config) -> DataFacts:
        """All that is known of a config's data."""
        # What prepare_data looks at; arms that agree in it share its work.
        assignment = config.model.assignment
        about: list[object] = [config.data.model_dump(mode="json"), assignment.corners, assignment.by_masks]
        if config.task == "coverage":
            about.append(config.coverage.split)
        else:
            needs_truth = config.model.postprocess.needs_ground_truth
            about += [config.schedule.batch_size, config.schedule.accumulate, assignment.by_masks and needs_truth]
        key = json.dumps(about)
        if key not in self._known:
            self._known[key] = DataFacts(*self.prepare_data(config))
        return self._known[key]

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(note for facts in self._known.values() for note in facts.notes))
