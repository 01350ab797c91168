"""Send messages with apprise, in a process of its own that a limit ends and whose output is not shown.

What libraries print on their way may hold parts of an address, and addresses hold passwords and keys.
"""

import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict

from fcos.errors import ConfigError, Mistake

if TYPE_CHECKING:
    # The process that sends a message starts sooner without the schema.
    from orchestration.config.schema import NotifyConfig

KEY = "notify.urls_from"
PACKAGE = "apprise"
# Beyond the limit of a message: until the process has started and loaded its libraries.
START_SECONDS = 20.0
# Exit codes of the process.
SENT, REFUSED, NO_ADDRESS, TOO_LATE = 0, 1, 2, 3
Kind = Literal["success", "warning", "failure"]


class Message(BaseModel):
    """A message; kind: shown by most services as a color."""

    model_config = ConfigDict(frozen=True)

    kind: Kind
    title: str
    body: str


@dataclass(frozen=True)
class Sender:
    """Sends messages to the addresses in an environment variable, within a time."""

    variable: str
    seconds: float

    def send(self, message: Message) -> str | None:
        """Send a message; return why that did not work, without any part of an address, or None."""
        return _problem(_run(self.variable, self.seconds, message.model_dump_json()), self.seconds)


def check_notification(notify: "NotifyConfig") -> None:
    """Raise ConfigError where messages are wanted but could not be sent: no package, no addresses, unknown ones."""
    variable = notify.urls_from
    if variable is None:
        return
    if importlib.util.find_spec(PACKAGE) is None:
        hint = "pip install 'fcos-lab[notify]', or leave the key out"
        raise ConfigError(Mistake(f"needs the package {PACKAGE}, which is not installed", KEY, variable, hint=hint))
    if not os.environ.get(variable, "").strip():
        hint = f"export {variable}='json://host/path mailto://...' (https://github.com/caronc/apprise)"
        raise ConfigError(Mistake("there is no such environment variable, or it is empty", KEY, variable, hint=hint))
    if (code := _run(variable, notify.timeout_seconds, "")) != SENT:
        why = _problem(code, notify.timeout_seconds) or ""
        hint = "see https://github.com/caronc/apprise for the form of each service's"
        raise ConfigError(Mistake(f"{why}; none is shown, as they are secrets", KEY, variable, hint=hint))


def _run(variable: str, seconds: float, text: str) -> int:
    """Run the process with a message as its input, an empty one to check the addresses; return its exit code."""
    # -P: a folder `orchestration` where the command was started is not ours.
    command = [sys.executable, "-P", "-m", "orchestration.notify.send_message", variable, f"{seconds:g}"]
    try:
        # Ctrl-C reaches this process alone.
        done = subprocess.run(
            command, input=text.encode(), capture_output=True, check=False, process_group=0,
            timeout=seconds + START_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return TOO_LATE
    return done.returncode


def _problem(code: int, seconds: float) -> str | None:
    if code == SENT:
        return None
    reasons = {
        REFUSED: "a service did not take it",
        NO_ADDRESS: "not all addresses in it are of a form that apprise knows",
        TOO_LATE: f"not within {seconds:g} s (notify.timeout_seconds)",
    }
    return reasons.get(code, f"its process ended with code {code}")
