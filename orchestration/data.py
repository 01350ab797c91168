"""Data made ready once, in the driver, before anything else starts."""

from rich.console import Console
from rich.progress import Progress

from fcos.config import Config


def prepare_data(config: Config, console: Console, workers: int) -> tuple[str, tuple[str, ...]]:
    """Draw or check the data of a config; returns its digest and remarks such as dropped boxes.

    Raises ConfigError naming the file and the rule for data that cannot be used, and for a batch that cannot be
    made of them.
    """
    from fcos.coverage.run import read_source
    from fcos.data.loader import check_batch
    from fcos.data.prepare import prepare

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
            return source.digest, source.notes
        ready = prepare(config.data, corners=config.model.assignment.corners, progress=show)
    schedule = config.schedule
    check_batch(schedule.batch_size, schedule.accumulate, workers, len(ready.train.annotations))
    return ready.digest, ready.notes
