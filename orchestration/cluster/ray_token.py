"""The file with the token of a Ray cluster; nodes run this module by value, so it needs the standard library alone."""

import os
from pathlib import Path


def token_file() -> Path | None:
    """Return the file that Ray reads the token from; None for a token in the environment or without one."""
    if os.environ.get("RAY_AUTH_TOKEN"):
        return None
    # Not Path.home(), which raises for a user without one.
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or os.path.expanduser("~/.ray/auth_token"))  # noqa: PTH111
    return path if path.is_file() else None
