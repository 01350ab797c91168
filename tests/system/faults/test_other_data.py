"""Data that a node has under the same path, or below another folder, never stand for those of the plan."""

import json
import shutil
from pathlib import Path

import pytest

from fcos.config.run import SyntheticConfig
from fcos.data.synthetic import synthetic_folder
from tests.helpers.experiments.sweeps import SHARED, SWEEP, runs, trials_of
from tests.helpers.processes.clusters import cluster, data_words, run
from tests.helpers.processes.namespaces import needs_namespaces

SHAPES = SyntheticConfig(image_size=64, train_images=24, val_images=6, object_size=(10, 40))
WORDS = [
    *(word for word in SHARED if not word.startswith("data.")),
    "data.short_sides=null",
    "data.long_side=null",
    "data.num_workers=0",
    "report=false",
]


def other(root: Path, at: Path) -> Path:
    """A copy of a data set in which one box is smaller."""
    shutil.copytree(root, at)
    values = json.loads((at / "train.json").read_text())
    values["annotations"][0]["bbox"][2] -= 1
    (at / "train.json").write_text(json.dumps(values))
    return at


@pytest.mark.slow(minutes=1.5)
def test_a_number_belongs_to_the_data_of_the_command_wherever_it_is_trained(tmp_path: Path) -> None:
    needs_namespaces("--mount")
    shutil.copytree(synthetic_folder(SHAPES, tmp_path / "drawn"), tmp_path / "data" / "shapes")
    here, outputs = tmp_path / "data" / "shapes", tmp_path / "outputs"
    hidden = other(here, tmp_path / "hidden")
    folders = [word.replace("images/", "") for word in data_words(here)]
    words = [*WORDS, *folders, f"output={outputs}", f"data.cache_dir={tmp_path / 'cache'}"]
    with cluster(token=True) as nodes:
        other(here, nodes.home / "data" / "shapes")
        words.append(f"cluster.address={nodes.address}")
        done = run(SWEEP, *words, "data.root=data/shapes", "name=relative", at=tmp_path, env=nodes.environment)
        assert done.returncode == 0, done.stdout + done.stderr
        (one,) = {run.data.params["data.root"] for run in runs(tmp_path, "relative").values() if run.data.params}
        assert one == str(here)
        wrapper = ["unshare", "--mount", "bash", "-c", f'mount --bind {hidden} {here} && exec "$@"', "--"]
        nodes.start(wrapper=wrapper)
        again = ("name=two", "reuse=false", "retrain_reason=other data")
        done = run(SWEEP, *words, "cluster.workers=2", *again, at=tmp_path, env=nodes.environment)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "are not the data of the plan" in done.stdout and f"data.root={here}" in done.stdout
    assert "taken up from its last checkpoint" not in done.stdout
    (trial,) = trials_of(tmp_path, "two")
    assert not (trial / "summary.json").exists()
    assert {one.info.status for one in runs(tmp_path, "two").values()} == {"FAILED"}
