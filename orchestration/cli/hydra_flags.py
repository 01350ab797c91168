"""Flags that Hydra handles itself: they show the config or the sources of its values, or complete words in a shell."""

from collections.abc import Sequence

HYDRA_FLAGS = ("--cfg", "-c", "--info", "-i", "--shell-completion", "-sc", "--resolve", "--package", "-p")


def is_hydra_command(arguments: Sequence[str]) -> bool:
    """Return whether the command line has a flag that Hydra handles instead of a run."""
    return any(argument.split("=")[0] in HYDRA_FLAGS for argument in arguments)
