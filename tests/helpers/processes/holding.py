"""Trainings that wait at a step until a test lets them go on, however fast or slow the machine is."""

from contextlib import suppress
from pathlib import Path

from orchestration.trial.processes import start_time

# Holds `sitecustomize.py`, which waits in the processes of a sweep.
MODULE_FOLDER = Path(__file__).with_name("held_trainings")


class Hold:
    """Limits of trainings: one that has reported the step of its limit waits before it reports the next."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "held").mkdir(parents=True)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs so that it and those that it starts are held."""
        return {"PYTHONPATH": str(MODULE_FOLDER), "FCOS_LAB_TEST_HOLDS": str(self._folder)}

    def at(self, step: float, who: Path | int | None = None) -> None:
        """Set the limit of a process, of the training with a folder, or of all that have none of their own."""
        self._write("all" if who is None else who.name if isinstance(who, Path) else str(who), step)

    def in_evaluation(self, step: float) -> None:
        """Set the limit of evaluations: a training that has reported that step waits at each image of one.

        It has to read its images from their files, in its own process: data.cache_gb=0 data.num_workers=0.
        """
        self._write("evaluation", step)

    def _write(self, name: str, step: float) -> None:
        new = self._folder / f"{name}.new"
        new.write_text(str(step))
        new.replace(self._folder / name)

    def release(self, who: Path | int | None = None) -> None:
        self.at(float("inf"), who)

    def held(self) -> dict[str, int]:
        """Name of the folder of each training that waits -> its process, alive."""
        found = {}
        for note in (self._folder / "held").glob("*"):
            with suppress(OSError, ValueError):
                pid = int(note.read_text())
                if note.suffix != ".new" and start_time(pid):
                    found[note.name] = pid
        return found
