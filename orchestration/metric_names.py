"""Names that MLflow takes for metrics."""

import hashlib
import re

_ILLEGAL = re.compile(r"[^A-Za-z0-9_\-. :/]")
_LONGEST = 250


def legal_name(name: str) -> str:
    """The name itself where it is legal, else a legal likeness with a few digits of the name's hash.

    MLflow refuses other characters than A-Z a-z 0-9 _ - . space : /, names over 250 characters, and names
    that are no plain path (empty, `.` and `..` parts); class names reach metric names, so anything can come.
    """
    parts = [_ILLEGAL.sub("_", part) for part in name.split("/")]
    parts = ["_" if part in {"", ".", ".."} else part for part in parts]
    clean = "/".join(parts)
    if clean == name and len(name) <= _LONGEST:
        return name
    return f"{clean[: _LONGEST - 7]}_{hashlib.sha256(name.encode()).hexdigest()[:6]}"
