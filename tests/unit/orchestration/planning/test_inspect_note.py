"""The note that names the command which shows the data."""

import shlex
from pathlib import Path

from fcos.inspection.source import find_data
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from orchestration.planning.inspect_note import inspect_notes

WORDS = (
    "data=coco", "data.train.annotations=a b.json", "data.train.images=images", "data.val.annotations=val.json",
    "data.val.images=images", "data.crowds=objects", "model.levels=[3,4]", "model.assignment.ranges=[[0,50],[50,null]]",
)  # fmt: skip


def test_the_command_of_the_note_reads_the_same_data_with_the_same_ranges(tmp_path: Path) -> None:
    config = compose(
        check_overrides([*WORDS, f"data.root={tmp_path}", "data.short_sides=null", "data.long_side=null"])
    ).training
    (note,) = inspect_notes(config, ["warning: some are the same", "others are turned"])
    assert note.startswith("2 notes on the data (1 of them warnings); shown with pictures by: python -m fcos inspect ")
    source = find_data(shlex.split(note.partition("inspect ")[2]))
    decoding = {"num_workers": config.data.num_workers}
    assert source.data.model_copy(update=decoding) == config.data
    assert source.model.levels == config.model.levels
    assert source.model.assignment.ranges == config.model.assignment.ranges


def test_there_is_none_without_notes_and_for_drawn_shapes(tmp_path: Path) -> None:
    coco = compose(check_overrides(["data=coco", f"data.root={tmp_path}"])).training
    assert inspect_notes(coco, []) == ()
    assert inspect_notes(compose([]).training, ["a note"]) == ()
