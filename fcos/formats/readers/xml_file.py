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
    """Return the XML files whose root element has this name, by their first bytes."""
    root = re.compile(rb"<" + name.encode() + rb"[\s>]")
    files = []
    for file in listing.with_suffix(".xml"):
        with (listing.root / file).open("rb") as content:
            if root.search(content.read(_HEAD_BYTES)):
                files.append(file)
    return files


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
