"""What real trainings of two steps leave on disk, by kind of file."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
TRAININGS: Final = 200
# Further words of the sweeps, each of which trains anew.
VARIANTS: Final[Sequence[tuple[str, ...]]] = ((), ("keep.trained=1",))
# Parts of a path below the output folder -> the kind of file; the first that is there counts.
KINDS: Final[Mapping[str, str]] = {
    "mlartifacts": "artifacts in the store",
    "mlflow.db": "SQLite file of the store",
    ".leases": "leases",
    "ray": "Ray's own records",
    "ray.log": "Ray's own records",
    "report": "report",
    "checkpoints": "checkpoints",
    "forks": "checkpoints for other trainings",
    "evaluation": "evaluations",
    "detections": "sample pictures",
    "thumbnails.zip": "thumbnails",
    "trials": "points, summary, log and notes",
}
OTHER: Final = "plan, its history, locks, hours used"


def measure_kept(folder: Path, trainings: int) -> dict[str, Counter[str]]:
    """Run a sweep with each of the variants below a folder; return what it leaves, measured before where it was."""
    kept = {}
    for words in VARIANTS:
        label = " ".join(words) or "as it comes"
        path = folder / f"disk_{trainings}_{'_'.join(words) or 'default'}.json"
        if not path.exists():
            path.write_text(json.dumps(train(path.with_suffix(""), trainings, words), indent=1))
        kept[label] = Counter[str](json.loads(path.read_text()))
    return kept


def train(folder: Path, trainings: int, words: Sequence[str]) -> Counter[str]:
    """Run a sweep of two arms that train by themselves, and return what it leaves."""
    command = [
        sys.executable, "orchestration/sweep.py", "+experiment=ablation_centerness", f"output={folder}",
        f"data.cache_dir={folder.parent / 'cache'}", f"experiment.seeds={list(range(trainings // 2))}".replace(" ", ""),
        "schedule.steps=2", "schedule.warmup_steps=1", *words,
    ]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr or done.stdout)
    return count_bytes(folder)


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


def make_disk_table(kept: Mapping[str, Counter[str]], trainings: int) -> str:
    """Return what each variant leaves by kind of file."""
    kinds = sorted({kind for each in kept.values() for kind in each}, key=lambda kind: -max(
        each[kind] for each in kept.values()
    ))  # fmt: skip
    lines = [f"| {trainings} trainings of two steps, MB | {' | '.join(kept)} |", "|---|" + "---|" * len(kept)]
    lines += [f"| {kind} | {' | '.join(f'{each[kind] / 1e6:.2f}' for each in kept.values())} |" for kind in kinds]
    lines.append(f"| all | {' | '.join(f'{each.total() / 1e6:.1f}' for each in kept.values())} |")
    return "\n".join(lines) + "\n"
