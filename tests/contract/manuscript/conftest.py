"""A tracking store with sweeps for a paper, and the command."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.helpers.experiments.decided_sweeps import write_decided
from tests.helpers.experiments.stored_sweeps import EXPERIMENT, SweepWriter


@pytest.fixture(scope="session")
def writer(tmp_path_factory: pytest.TempPathFactory) -> SweepWriter:
    """Writer into a store of this session with the sweeps `decided`, `hostile` and `alone`."""
    folder = tmp_path_factory.mktemp("store")
    made = SweepWriter(f"sqlite:///{folder / 'mlflow.db'}", folder)
    write_decided(made, "main", "decided")
    # With an arm of a hostile name that failed once.
    made.write_sweep("main", "hostile")
    single = {**EXPERIMENT, "seeds": [0], "arms": {"none": {}, "branch": {}}, "paper": {}}
    made.write_sweep("main", "alone", {"none": (0.4,), "branch": (0.5,)}, experiment=single)
    return made


@pytest.fixture
def own_writer(tmp_path: Path, empty_store: bytes) -> SweepWriter:
    """Writer into a store of the test's own."""
    folder = tmp_path / "own store"
    folder.mkdir()
    (folder / "mlflow.db").write_bytes(empty_store)
    return SweepWriter(f"sqlite:///{folder / 'mlflow.db'}", folder)


@pytest.fixture
def run_paper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """paper.main, run in a folder of the test's own."""
    from analysis import paper

    monkeypatch.chdir(tmp_path)
    return lambda *arguments: paper.main([str(argument) for argument in arguments])


@pytest.fixture(scope="session")
def written(writer: SweepWriter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the files on the sweeps `decided`, `hostile` and `alone`."""
    from analysis import paper

    folder = tmp_path_factory.mktemp("paper")
    words = ["decided", "hostile", "alone", "--tracking-uri", writer.uri, "--output", str(folder)]
    assert paper.main(words) == 0
    return folder
