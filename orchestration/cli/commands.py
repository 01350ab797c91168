"""Commands that a message gives, as they are typed into a shell."""

import shlex
from pathlib import Path

from fcos.installation import command
from fcos.storage.store_conventions import public_uri


def report_command(sweep: str, uri: str) -> str:
    """Return the command that writes the report of a sweep in a store; without the password of its address."""
    return f"{command('report')} {shlex.quote(sweep)} --tracking-uri {shlex.quote(public_uri(uri))}"


def verify_command(file: Path) -> str:
    """Return the command that computes the numbers of an archive again."""
    return f"{command('verify')} {shlex.quote(str(file))}"
