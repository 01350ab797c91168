"""A signal ends a command in order, unless the caller asked to have it ignored."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestration.cli.entry import interrupt_on_signals
from tests.helpers.processes.waiting import PATIENCE


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


def test_a_signal_ends_the_alarm_of_a_handler_that_came_before() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), interrupt_on_signals():
            signal.alarm(600)
            os.kill(os.getpid(), signal.SIGTERM)
        assert signal.alarm(0) == 0
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGTERM, before)


def test_a_signal_during_an_import_ends_the_import_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Nothing that the clean-up behind an import swallows may be raised in it.
    (tmp_path / "signalled_module.py").write_text(
        "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)\nwhole = sum(range(1000))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with pytest.raises(KeyboardInterrupt), interrupt_on_signals() as caught:
            import signalled_module  # type: ignore[import-not-found]

            assert signalled_module.whole == 499500
            signal.pause()
        assert caught == [signal.SIGTERM]
        assert "signalled_module" in sys.modules
    finally:
        signal.signal(signal.SIGTERM, before)


# A lock is taken before a fork and given back after it, as filelock does; the signal comes between the two.
FORKED = """
import os, signal, subprocess, sys, threading
from orchestration.cli.entry import interrupt_on_signals

lock = threading.Lock()

def give_back():
    os.kill(os.getpid(), signal.SIGTERM)
    sum(range(1000))
    lock.release()

os.register_at_fork(before=lock.acquire, after_in_parent=give_back)
try:
    with interrupt_on_signals() as caught:
        START
        signal.pause()
except KeyboardInterrupt:
    print(caught, "taken" if lock.locked() else "free")
"""


@pytest.mark.parametrize(
    "start",
    [
        "subprocess.Popen([sys.executable, '-c', ''], preexec_fn=lambda: None).wait()",
        "__import__('multiprocessing').get_context('fork').Process(target=print).start()",
    ],
)
def test_a_signal_during_a_fork_waits_for_its_callbacks(start: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED.replace("START", start)], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.stdout.splitlines()[-1] == "[15] free", done.stdout + done.stderr


def test_a_hangup_that_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interrupt_on_signals() as caught:
            os.kill(os.getpid(), signal.SIGHUP)
        assert caught == []
    finally:
        signal.signal(signal.SIGHUP, before)
