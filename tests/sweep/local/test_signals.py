"""Signals to the controller: the first is noted, another one insists, and afterwards all is as before."""

import os
import select
import signal

import pytest

from convarium.sweep.local import signals as signals_module
from convarium.sweep.local.signals import SAME_SECONDS, Signals


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which a test may change."""
    now = [100.0]
    monkeypatch.setattr(signals_module.time, "monotonic", lambda: now[0])
    return now


@pytest.mark.parametrize("signum", Signals.HEEDED)
def test_a_signal_is_noted_and_does_nothing_else(signum: int) -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signum)
        assert (signals.first, signals.insists) == (signum, False)


@pytest.mark.parametrize(
    ("second", "seconds", "insists"),
    [
        (signal.SIGINT, SAME_SECONDS + 0.1, True),
        (signal.SIGTERM, SAME_SECONDS + 0.1, True),
        (signal.SIGINT, SAME_SECONDS - 0.1, False),  # the same one once more, from the terminal and from a parent
        (signal.SIGHUP, SAME_SECONDS + 0.1, False),  # a terminal that closes sends several
    ],
)
def test_another_signal_insists(second: int, seconds: float, insists: bool, clock: list[float]) -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        clock[0] += seconds
        os.kill(os.getpid(), second)
        assert (signals.first, signals.insists) == (signal.SIGTERM, insists)


def test_there_is_something_to_read_from_a_signal_until_it_is_drained() -> None:
    def is_told(signals: Signals) -> bool:
        return bool(select.select([signals.descriptor], [], [], 0)[0])

    with Signals() as signals:
        seen = [is_told(signals)]
        os.kill(os.getpid(), signal.SIGTERM)
        seen.append(is_told(signals))
        signals.drain()
        seen.append(is_told(signals))
    assert seen == [False, True, False]


def test_draining_what_is_empty_does_not_wait() -> None:
    with Signals() as signals:
        signals.drain()
        assert signals.first == 0


def test_afterwards_signals_do_what_they_did_before() -> None:
    before = [signal.getsignal(signum) for signum in Signals.HEEDED]
    with Signals():
        assert [signal.getsignal(signum) for signum in Signals.HEEDED] != before
    assert [signal.getsignal(signum) for signum in Signals.HEEDED] == before


def test_what_was_ignored_stays_ignored_but_for_ctrl_c() -> None:
    before = {signum: signal.signal(signum, signal.SIG_IGN) for signum in (signal.SIGHUP, signal.SIGINT)}
    try:
        with Signals() as signals:
            for signum in before:
                os.kill(os.getpid(), signum)
        assert signals.first == signal.SIGINT
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
