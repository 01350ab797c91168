"""Archives of stored sweeps: published, changed by a byte, and packed as no publisher would."""

import shutil
import stat
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from mlflow.entities import Metric, Param, RunTag

from analysis import publish
from fcos.evaluation.coco import result_metrics
from fcos.evaluation.saved.saved_evaluation import read_evaluation
from fcos.published.archive import MODE, SYSTEM, TIME, extract_archive, write_archive
from fcos.published.crate import CrateFacts, write_metadata
from fcos.published.layout import HEADER, METADATA
from fcos.published.records import ArchiveHeader
from tests.helpers.experiments.explored_sweeps import draw_images, log_files, save_run
from tests.helpers.experiments.stored_sweeps import EXPERIMENT, START, SweepWriter, make_trial_tags

RUN = "0123456789abcdef" * 2
HEADER_TEXT = ArchiveHeader(sweep="tiny", run_id=RUN, laboratory="", resamples=0, version="0.1.0")


def write_tiny(folder: Path, file: Path) -> str:
    """Write an archive of a header and a plan, whose contents no report could be made of; returns its id."""
    (folder / "sweep").mkdir(parents=True)
    (folder / HEADER).write_text(HEADER_TEXT.model_dump_json())
    (folder / "sweep" / "plan.json").write_text('{"code": "c", "trials": []}')
    archive_id = write_metadata(folder, CrateFacts(HEADER_TEXT, 0, "", "", ""))
    write_archive(folder, "tiny", file)
    return archive_id


def publish_sweep(uri: str, name: str, file: Path, *options: str) -> Path:
    """Publish a sweep of a store with few resamples; returns the file."""
    words = [name, "--tracking-uri", uri, "--output", str(file), "--resamples", "100", *options]
    assert publish.main(words) == 0
    return file


def repack(file: Path, folder: Path, target: Path, *, with_metadata: bool = True) -> Path:
    """Pack the changed folder of an archive again as its publisher would have; returns the file.

    with_metadata: whether the digests are those of the changed files.
    """
    if with_metadata:
        (folder / METADATA).unlink()
        write_metadata(folder, CrateFacts(HEADER_TEXT, 0, "", "", ""))
    write_archive(folder, folder.name, target)
    return target


def unpack(file: Path, folder: Path) -> Path:
    """Extract an archive into a new folder; returns the folder of its files."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return extract_archive(file, folder)


def flip(file: Path, position: int, target: Path, bit: int = 0) -> Path:
    """Write a copy of a file in which one bit of one byte is another."""
    content = bytearray(file.read_bytes())
    content[position] ^= 1 << bit
    target.write_bytes(content)
    return target


def pack(file: Path, entries: Sequence[tuple[str, bytes]], **fields: object) -> Path:
    """Write a zip file with entries of any names; `fields` are set on each of them."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in entries:
            info = zipfile.ZipInfo("x", TIME)
            info.filename = name
            info.create_system, info.external_attr = SYSTEM, MODE << 16
            for field, value in fields.items():
                setattr(info, field, value)
            archive.writestr(info, content)
    return file


LINK = (stat.S_IFLNK | 0o777) << 16
DEVICE = (stat.S_IFCHR | 0o666) << 16


# Of trials whose runs are published: what a configuration and its notes name of a machine.
PRIVATE_ROOT = "/home/alice/data/drawn"
# Arm -> the value of the key that it sets.
QUALITY = "model.head.quality"
ARMS = {"none": "none", "branch": "centerness"}


def write_evaluated_sweep(
    writer: SweepWriter, name: str, folder: Path, *, seeds: Sequence[int] = (0, 1, 2), params: Mapping[str, str] = {}
) -> str:
    """Write a sweep whose trials logged what their saved detections give, with a private path; returns its run id."""
    drawn = draw_images(folder, 10)
    names = [f"{number:04d}.png" for number in range(10)]
    drawn = replace(drawn, annotations=replace(drawn.annotations, names=tuple(names)))
    arms = {arm: {QUALITY: quality} for arm, quality in ARMS.items()}
    paper = {arm: EXPERIMENT["paper"][arm] for arm in ARMS}
    experiment = {**EXPERIMENT, "arms": arms, "paper": paper, "seeds": list(seeds)}
    parent = writer.write_sweep(name, name, {}, experiment=experiment)
    planned = [
        {
            "identity": "7a" * 32,
            "seed": seed,
            "arms": {arm: make_trial_tags(parent, arm, seed)["fcos.identity"] for arm in ARMS},
        }
        for seed in seeds
    ]
    writer.client.log_dict(parent, {"code": "c" * 64, "arms": arms, "trials": planned}, "plan.json")
    for arm, quality in ARMS.items():
        for seed in seeds:
            files = save_run(drawn, arm, seed, folder / f"run {arm} {seed}")
            evaluation = read_evaluation(files[0].parent)
            metrics = result_metrics(evaluation.annotations, evaluation.results)
            run_id = writer.write_trial(name, parent, arm, seed, metrics["val/AP"], start=START + seed)
            tags = {"fcos.data_digest": "d" * 64, "fcos.code": "c" * 64, "fcos.versions": '{"torch": "2.15.0"}'}
            tags["fcos.notes"] = f"1 box of {PRIVATE_ROOT}/train.json is not trained on"
            # What counts at a step is what was logged last.
            logged = [Metric(key, value, START + 10_000, 1200) for key, value in metrics.items()]
            own = [
                Param("data.root", PRIVATE_ROOT),
                Param("seed", str(seed)),
                Param(QUALITY, quality),
                *(Param(*each) for each in params.items()),
            ]
            writer.client.log_batch(run_id, logged, own, [RunTag(*each) for each in tags.items()])
            writer.client.log_dict(run_id, {"data": {"root": PRIVATE_ROOT}, "seed": seed}, "config.json")
            log_files(writer, run_id, files)
    return parent
