"""A mistake in a config file of one's own is one message with file, line and rule."""

import shutil
from pathlib import Path

import pytest

from fcos.errors import ConfigError
from orchestration.config import conf_files, groups
from orchestration.config.conf_files import experiment_claim, read_conf
from orchestration.config.overrides import check_overrides, help_text

HEADER = b"# @package _global_\n"
GOOD = HEADER + b"experiment:\n  name: mine\n  claim: higher\n  baseline: a\n"
MISTAKES = {
    "tab": (HEADER + b"experiment:\n\tname: mine\n", r"line 3: found character '\\t'.*indent with blanks"),
    "twice": (GOOD + b"  arms:\n    a: {}\n    a: {}\n", "line 8: found duplicate key a; each key may be given once"),
    "colon": (HEADER + b"experiment:\n  claim: higher AP: yes\n", "line 3: mapping values.*needs quotes"),
    "latin": (HEADER + b"experiment:\n  claim: f\xfcr\n", "line 3: byte 0xfc is not UTF-8"),
    "mark": (b"\xef\xbb\xbf" + GOOD, "line 1: begins with a byte order mark"),
    "empty": (b"", "is empty"),
    "comment": (HEADER + b"# nothing yet\n", "is empty"),
    "list": (HEADER + b"- a\n- b\n", "line 2: holds a list; a config file is a mapping"),
    "text": (HEADER + b"hello\n", "line 2: holds text"),
    "open": (HEADER + b"experiment: {name: mine\n", r"line 3: expected ',' or '}'"),
    "zero": (HEADER + b"experiment:\n  name: \0\n", "line 3: unacceptable character #x0000"),
    "header": (GOOD.removeprefix(HEADER), "line 1: must be `# @package _global_`"),
    "words": (GOOD.replace(b"_global_", b"_global_ please"), ".* is no header"),
    "other": (HEADER + b"model: {head: {norm: gn}}\n", "has no section experiment"),
}


@pytest.fixture
def conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of conf/ in which files may be put."""
    copy = tmp_path / "conf"
    shutil.copytree(conf_files.CONF, copy)
    monkeypatch.setattr(conf_files, "CONF", copy)
    return copy


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_an_experiment_is_reported_with_its_line_and_in_the_help(conf: Path, mistake: str) -> None:
    content, message = MISTAKES[mistake]
    (conf / "experiment" / "mine.yaml").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"conf/experiment/mine\.yaml[,:] {message}"):
        check_overrides(["+experiment=mine"])
    # Nobody else is held up by it.
    assert check_overrides(["+experiment=ablation_centerness"]) == ["+experiment=ablation_centerness"]
    (line,) = (line for line in help_text("sweep", "", []).splitlines() if line.startswith("  mine "))
    assert "(cannot be used: conf/experiment/mine.yaml" in line


def test_an_unreadable_file_is_reported(conf: Path) -> None:
    (conf / "experiment" / "mine.yaml").symlink_to(conf / "nowhere")
    with pytest.raises(ConfigError, match=r"conf/experiment/mine\.yaml: cannot be read \(No such file"):
        check_overrides(["experiment=mine"])


@pytest.mark.parametrize(
    "arguments", [["model=mine"], ["conventions=mine"], ["+experiment=uses"], ["+experiment=uses", "model=fcos_small"]]
)
def test_a_mistake_in_any_file_in_use_is_reported(conf: Path, arguments: list[str]) -> None:
    for group in ("model", "conventions"):
        (conf / group / "mine.yaml").write_bytes(b"levels: [3, 4\n")
    uses = b"defaults:\n  - override /model: mine\n"
    (conf / "experiment" / "uses.yaml").write_bytes(GOOD.replace(b"experiment:", uses + b"experiment:"))
    if "model=fcos_small" in arguments:
        # The command line chooses another.
        assert check_overrides(arguments)
        return
    with pytest.raises(ConfigError, match=r"conf/(model|conventions)/mine\.yaml, line 2: expected"):
        check_overrides(arguments)


def test_an_arm_names_the_file_that_it_cannot_read(conf: Path) -> None:
    (conf / "conventions" / "mine.yaml").write_bytes(HEADER + b"model: [\n")
    with pytest.raises(ConfigError, match=r"conf/conventions/mine\.yaml, line 3"):
        groups.expand_presets({"arm": {"conventions": "mine"}})


def test_every_file_of_the_project_is_valid_and_every_claim_is_read() -> None:
    for path in conf_files.CONF.glob("**/*.yaml"):
        assert read_conf(path)
    assert all(experiment_claim(path) for path in (conf_files.CONF / "experiment").glob("*.yaml"))


def test_without_config_files_the_error_names_where_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conf_files, "CONF", tmp_path / "conf")
    for call in (lambda: check_overrides([]), lambda: help_text("sweep", "", [])):
        with pytest.raises(ConfigError, match="no such folder; the config files belong beside the packages"):
            call()
