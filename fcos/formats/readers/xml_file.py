"""Parse XML annotation files, which may come from anywhere: no entities, no external files."""

import math
import re
from pathlib import PurePosixPath
from typing import Final
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from fcos.errors import DataError
from fcos.formats.listing import Listing

# Bytes of a file within which its root element begins.
_HEAD_BYTES: Final = 4096


def files_with_root(listing: Listing, name: str) -> list[PurePosixPath]:
    """Return the XML files whose root element has this name, by their first bytes.

    Beside them empty ones, which could have been of the same kind and which reading refuses.
    """
    root = re.compile(rb"<" + name.encode() + rb"[\s>]")
    files, empty = [], []
    for file in listing.with_suffix(".xml"):
        # Of UTF-16 every second byte is zero.
        head = listing.read_start(file, _HEAD_BYTES, "XML file").replace(b"\0", b"")
        if root.search(head):
            files.append(file)
        elif not head.strip():
            empty.append(file)
    return sorted([*files, *empty]) if files else []


def read_xml(listing: Listing, file: PurePosixPath) -> Element:
    """Return the root element of a file; raises DataError for what is no XML, or has a document type."""
    content = listing.read(file, "annotation file")
    try:
        root: Element = fromstring(content, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    except (ParseError, ValueError, LookupError) as error:
        # Refused constructs are ValueErrors with texts for programmers.
        refused = isinstance(error, DefusedXmlException)
        reason = "has a <!DOCTYPE ...>, which may name entities and other files and is refused; remove it"
        reason = reason if refused else f"is no XML ({error})"
        raise DataError(f"{listing.root / file}: {reason}") from None
    return root


def child_text(element: Element, path: str) -> str | None:
    """Return the text of the first element at a path, without blanks around it; None where missing or empty."""
    text = element.findtext(path)
    return text.strip() or None if text is not None else None


def number(text: str | None) -> float | None:
    """Return a finite number, or None for anything else."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None
