"""Callbacks that report the progress of preparing data."""

from collections.abc import Callable

# Called with the number of items done and their total.
CountCallback = Callable[[int, int], None]
# Called with a description of the work, the number of items done and their total.
ProgressCallback = Callable[[str, int, int], None]
