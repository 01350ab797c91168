"""A signal ends a command in order, unless the caller asked to have it ignored."""

import os
import signal

import pytest

from orchestration.cli.entry import interrupt_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_an_interrupt_and_is_kept(number: signal.Signals) -> None:
    # The tests themselves may run under nohup.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), interrupt_on_signals() as caught:
            os.kill(os.getpid(), number)
        assert caught == [number]
    finally:
        signal.signal(number, before)


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupt_on_signals() as caught:
            os.kill(os.getpid(), signal.SIGHUP)
        assert caught == []
    finally:
        signal.signal(signal.SIGHUP, before)
