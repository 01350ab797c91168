"""Small trainings share a GPU by fractions: as many side by side as fit, each with the GPU it was given."""

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.helpers.experiments.sweeps import ROOT, environment

SCRIPT = Path(__file__).with_name("packing.py")


@pytest.mark.slow
@pytest.mark.parametrize(("gpus", "fraction", "per_gpu"), [(1, 0.25, 4), (2, 0.4, 2)])
def test_trials_share_gpus_by_fractions(tmp_path: Path, gpus: int, fraction: float, per_gpu: int) -> None:
    trials = gpus * per_gpu + 1
    command = [sys.executable, str(SCRIPT), str(gpus), str(fraction), str(trials), str(tmp_path)]
    ended = subprocess.run(
        command, env={**environment(tmp_path), "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    rows = [json.loads((tmp_path / f"{number}.json").read_text()) for number in range(trials)]
    assert all(len(row["gpus"]) == 1 for row in rows)
    # The first trials together fill all GPUs, none is crowded; the last waits for one of them.
    first = sorted(rows, key=lambda row: row["began"])
    assert Counter(row["gpus"][0] for row in first[:-1]) == dict.fromkeys(range(gpus), per_gpu)
    assert max(row["began"] for row in first[:-1]) < min(row["ended"] for row in first[:-1])
    assert first[-1]["began"] >= min(row["ended"] for row in first[:-1])
