"""Replace what is private in known fields: paths and addresses that a configuration and its runs name."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fcos.storage.store_conventions import Tag

# A value that is a path or an address from its first character on.
_LOCATION = re.compile(r"/|~|[A-Za-z]:[\\/]|\\\\|[A-Za-z][A-Za-z0-9+.-]*://")
# What may stand before and behind a location in a text.
_BEFORE, _BEHIND = r"(?<![\w./\\-])", r"(?![\w-])"
HIDDEN, FOLDER, NODE, OTHER = "<hidden>", "<folder>", "<node>", "<path>"
# A folder of data as it was typed on a command line: relative to one that no configuration names. null is none.
_TYPED = re.compile(r"\b(data\.(?:root|cache_dir))=(?!<|null\b)[^\s\"',;)]*[^\s\"',;):]")
# The name of a machine where a training refuses code, packages (orchestration/experiment/provenance.py) or data
# (fcos/data/prepare.py) that are not those of the plan, or cannot fetch them (fcos/data/bucket_source.py).
_ON_NODE = re.compile(
    r"(?<=\bon )(?!<)\S+"
    r"(?= (?:the code of \S+ is not that of the plan|\S+ is \S+, planned |are not the data of the plan"
    r"|the bucket (?:refuses|does not answer):))"
)
# Least length of the name of a machine without a dot or a dash: a shorter one, such as r50, may be that of an arm.
MIN_NODE_CHARS = 5
# Tags with texts in which such a message may be.
_MESSAGES = (Tag.FAILURE, Tag.NOTES, Tag.STOPPED)


@dataclass
class Neutralizer:
    """Replaces locations by the names of the keys that hold them, and counts what it replaced.

    words: location -> the neutral word for it.
    """

    words: Mapping[str, str]
    replaced: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        # The longest first: one location may lie in another.
        ordered = sorted(self.words, key=lambda word: (-len(word), word))
        pattern = "|".join(re.escape(word) for word in ordered)
        self._pattern = re.compile(f"{_BEFORE}(?:{pattern}){_BEHIND}") if pattern else None

    def clean_text(self, text: str) -> str:
        """Return a text without the known locations, folders of data, and names of machines that refused a training."""
        text = _ON_NODE.sub(self._replace_node, text)
        text = text if self._pattern is None else self._pattern.sub(self._replace, text)
        return _TYPED.sub(self._replace_typed, text)

    def clean_value(self, value: Any) -> Any:
        """Return nested plain values without the known locations, and without other values that are a location."""
        match value:
            case dict():
                return {self.clean_text(str(key)): self.clean_value(each) for key, each in value.items()}
            case list():
                return [self.clean_value(each) for each in value]
            case str():
                cleaned = self.clean_text(value)
                if is_location(cleaned):
                    self.replaced[OTHER] += 1
                    return OTHER
                return cleaned
            case _:
                return value

    def _replace_node(self, _: re.Match[str]) -> str:
        self.replaced[NODE] += 1
        return NODE

    def _replace_typed(self, match: re.Match[str]) -> str:
        key = match[1]
        self.replaced[f"<{key}>"] += 1
        return f"{key}=<{key}>"

    def _replace(self, match: re.Match[str]) -> str:
        word = self.words[match[0]]
        self.replaced[word] += 1
        return word


def is_location(value: str) -> bool:
    """Return whether a whole value is an absolute path or an address."""
    return _LOCATION.match(value) is not None and "\n" not in value


def find_words(
    params: Iterable[Mapping[str, str]], tags: Iterable[Mapping[str, str]], hidden: Iterable[str]
) -> dict[str, str]:
    """Return location -> neutral word, of the params and tags of all runs and of what the user hides.

    Names of machines that a training was refused on are among them, but for those that a setting could have too.
    """
    words: dict[str, str] = {}
    for of_run in tags:
        if folder := of_run.get(Tag.FOLDER):
            # outputs/<sweep>/trials/<identity>: what notes and failures name lies in or beside it.
            words |= {str(each): FOLDER for each in [Path(folder), *Path(folder).parents[:3]] if len(each.parts) > 2}
        for tag in _MESSAGES:
            words |= dict.fromkeys(_find_nodes(of_run.get(tag, "")), NODE)
    for of_run in params:
        words |= {
            value.rstrip("/"): f"<{key}>" for key, value in of_run.items() if is_location(value) and len(value) > 2
        }
    return words | dict.fromkeys((text for text in hidden if text), HIDDEN)


def _find_nodes(message: str) -> Iterator[str]:
    """Yield the names of machines in a message, with and without their domain, but for those that may be words."""
    for node in _ON_NODE.findall(message):
        names = (node, node.partition(".")[0])
        yield from (name for name in names if re.search("[A-Za-z]", name) and _is_no_word(name))


def _is_no_word(name: str) -> bool:
    """Return whether the name of a machine is none that a setting or an arm could have too."""
    return re.search("[.-]", name) is not None or (len(name) >= MIN_NODE_CHARS and re.search(r"\d", name) is not None)


def hide_texts(text: str, hidden: Iterable[str]) -> str:
    """Return a text with HIDDEN in place of what the user hides."""
    return Neutralizer(dict.fromkeys(filter(None, hidden), HIDDEN)).clean_text(text)
