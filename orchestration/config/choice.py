"""A setting that was chosen for a folder of images, and why."""

import shlex
from dataclasses import dataclass
from typing import Any, Final

# In place of overrides, for what other files alone would change.
BY_FILES: Final = "(by the files alone)"


@dataclass(frozen=True)
class Choice:
    """Dotted keys with the values that were chosen for them, and the reason."""

    topic: str
    values: dict[str, Any]
    reason: str
    # Overrides that are no dotted keys of the config, such as model=fcos_small.
    words: tuple[str, ...] = ()

    @property
    def by_hand(self) -> str:
        """Return the overrides that would set it, as words for a shell."""
        words = [*self.words, *(f"{key}={_text(value)}" for key, value in self.values.items())]
        return shlex.join(words) or BY_FILES


def _text(value: Any) -> str:
    """Return a value as the command line takes it."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    # All digits only where those that are easily read are another number.
    short = f"{value:g}" if isinstance(value, float) else str(value)
    return repr(value) if isinstance(value, float) and float(short) != value else short
