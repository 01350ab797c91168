"""The commands of sweep.py and train.py in the documents compose into a configuration, or are refused as they show."""

import pytest

from fcos.errors import ConfigError
from orchestration.config.compose import compose
from orchestration.config.overrides import check_overrides
from tests.helpers.documents.commands import SWEEP, TRAIN, Command, all_commands

# Answers of the command line itself, which need no configuration.
ANSWERS = ("--help", "--schema", "-sc", "--config-dir", "list", "show")
# Options beside Hydra's words; --cfg prints the configuration that is composed here.
OPTIONS = ("--json", "--cfg", "job")
# What a reader puts an experiment's name in place of, and what is chosen by the content of a folder.
NAMED = ("+experiment=NAME", "+experiment=given", "data=auto")


def is_composed(command: Command) -> bool:
    words = command.words
    return command.program in (SWEEP, TRAIN) and not any(word.startswith((*ANSWERS, *NAMED)) for word in words)


COMPOSED = [command for command in all_commands() if is_composed(command)]
SHOWN = [command for command in COMPOSED if not command.refused]
# A key without effect is found when arms are compared, which is after a configuration is composed.
REFUSED = [command for command in COMPOSED if command.refused and "schedule.momentum" not in str(command)]


def words_of(command: Command) -> list[str]:
    return [word for word in command.words if word not in OPTIONS]


def test_the_documents_show_many_commands() -> None:
    assert len(SHOWN) > 60
    assert len(REFUSED) == 2


@pytest.mark.parametrize("command", SHOWN, ids=str)
def test_a_command_of_the_documents_composes(command: Command) -> None:
    lab = compose(check_overrides(words_of(command)))
    assert (lab.experiment is not None) == any(word.startswith("+experiment=") for word in command.words)


@pytest.mark.parametrize("command", REFUSED, ids=str)
def test_a_command_that_is_shown_with_an_error_is_refused(command: Command) -> None:
    with pytest.raises(ConfigError):
        compose(check_overrides(words_of(command)))
