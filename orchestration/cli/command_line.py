"""Check and compose a command line before anything is imported that takes longer: a mistake is refused at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestration.config.compose import Composed, compose_with_choices
from orchestration.config.overrides import check_overrides, split_config_dir


@dataclass(frozen=True)
class CommandLine:
    """A command line and the validated config that it comes to."""

    # The folder of --config-dir.
    own: Path | None
    overrides: tuple[str, ...]
    composed: Composed

    @property
    def words(self) -> list[str]:
        """The command line as it was typed, for the command that a sweep's report gives."""
        return list(self.overrides) if self.own is None else [f"--config-dir={self.own}", *self.overrides]


def compose_command_line(arguments: Sequence[str]) -> CommandLine:
    """Return a checked command line; raises ConfigError for a user's mistake."""
    own, overrides = split_config_dir(arguments)
    return CommandLine(own, tuple(overrides), compose_with_choices(check_overrides(overrides, own), own))
