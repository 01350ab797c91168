"""What real trainings of two steps leave on disk, by kind of file, and what 200 of them would.

Two sweeps of two and of eight trainings are run by orchestration/sweep.py; what the larger one has more is what each
training leaves, and the rest is there once.
"""

import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

ROOT = Path(__file__).resolve().parent.parent
STEPS: Final = 2
# Of two arms each.
SEEDS: Final = (1, 4)
TARGET: Final = 200
# Parts of a path below the output folder -> the kind of file; the first that is there counts.
KINDS: Final[Mapping[str, str]] = {
    "lock": "locks, notes, spent.json",
    "mlartifacts": "artifacts in the store",
    "mlflow.db": "SQLite file of the store",
    "ray": "Ray's own records",
    "ray.log": "Ray's own records",
    "report": "report",
    "checkpoints": "checkpoints",
    "forks": "forks",
    "evaluation": "evaluation",
    "detections": "sample pictures",
    "thumbnails.zip": "thumbnails",
    "points.jsonl": "points, summary, log and notes of trainings",
    "trials": "points, summary, log and notes of trainings",
    "plan.json": "plan and its history",
    "plan_history.json": "plan and its history",
}
OTHER: Final = "locks, notes, spent.json"


def measure_kept(folder: Path) -> dict[str, Any]:
    """Train both sweeps below a folder, and return the bytes by kind of file of each."""
    kept = [train(folder / f"seeds_{seeds}", seeds) for seeds in SEEDS]
    kinds = sorted({kind for each in kept for kind in each})
    return {
        "steps": STEPS,
        "target": TARGET,
        "trainings": [2 * seeds for seeds in SEEDS],
        "bytes": {kind: [each[kind] for each in kept] for kind in kinds},
    }


def train(folder: Path, seeds: int) -> Counter[str]:
    """Run a sweep of two arms that train by themselves, and return what it leaves."""
    command = [
        sys.executable, "orchestration/sweep.py", "+experiment=ablation_centerness", f"output={folder / 'outputs'}",
        f"data.cache_dir={folder.parent / 'cache'}", f"experiment.seeds={list(range(seeds))}".replace(" ", ""),
        f"schedule.steps={STEPS}", "schedule.warmup_steps=1", f"schedule.eval_every={STEPS}",
        f"schedule.checkpoint_every={STEPS}",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr or done.stdout)
    return count_bytes(folder / "outputs")


def count_bytes(output: Path) -> Counter[str]:
    """Return the bytes of the files in an output folder by kind; links to files count once."""
    found: Counter[str] = Counter()
    seen: set[int] = set()
    for path in output.rglob("*"):
        stat = path.lstat()
        if path.is_file() and not path.is_symlink() and stat.st_ino not in seen:
            seen.add(stat.st_ino)
            found[kind_of(path.relative_to(output))] += stat.st_size
    return found


def kind_of(path: Path) -> str:
    """Return the kind of a file by its path below an output folder."""
    return next((kind for part, kind in KINDS.items() if part in path.parts), OTHER)
