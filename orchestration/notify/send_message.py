"""Send one message with apprise: python -m orchestration.notify.send_message VARIABLE SECONDS < message.json

An empty input only checks the addresses. It prints nothing; its exit codes are in sender.py.
"""

import logging
import os
import sys
import threading
from collections.abc import Callable

from orchestration.notify.sender import NO_ADDRESS, REFUSED, SENT, TOO_LATE, Message


def main(variable: str, seconds: float, text: str) -> int:
    """Check the addresses in an environment variable, and send a message to them all; return the exit code."""
    # Its log has addresses in some of its lines.
    logging.disable(logging.CRITICAL)
    import apprise

    services = apprise.Apprise()
    if not services.add(os.environ.get(variable, "")) or not len(services):
        return NO_ADDRESS
    if not text:
        return SENT
    message = Message.model_validate_json(text)
    # Each service shortens a text that is too long for it by itself.
    return _within(
        seconds, lambda: bool(services.notify(body=message.body, title=message.title, notify_type=message.kind))
    )


def _within(seconds: float, send: Callable[[], bool]) -> int:
    """Return the exit code of a call that may take some seconds; the process is to end at once after it."""
    taken: list[bool] = []
    thread = threading.Thread(target=lambda: taken.append(send()), daemon=True)
    thread.start()
    thread.join(seconds)
    if not taken:
        return TOO_LATE if thread.is_alive() else REFUSED
    return SENT if taken[0] else REFUSED


if __name__ == "__main__":
    # Not sys.exit, which waits for threads of apprise that wait for a service.
    os._exit(main(sys.argv[1], float(sys.argv[2]), sys.stdin.read()))
