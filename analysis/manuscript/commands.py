"""Commands for readers of the texts: names of sweeps and their archives as words of a shell."""

import shlex

from fcos.published.layout import default_archive


def quote_word(text: str) -> str:
    """Return a name as a word of a shell on one line."""
    return shlex.quote(" ".join(text.split()))


def quote_archive(name: str) -> str:
    """Return the archive that publish.py writes of a sweep, as a word of a shell."""
    return shlex.quote(default_archive(name))
