"""Signals to the controller: the first is noted, another one repeated, and afterwards all is as before."""

import os
import select
import signal

import pytest

from convarium.sweep.local.signals import SAME_SECONDS, Signals


@pytest.mark.parametrize("signum", Signals.NOTED)
def test_a_signal_is_noted_and_does_nothing_else(signum: int) -> None:
    with Signals() as signals:
        os.kill(os.getpid(), signum)
        assert (signals.first, signals.repeated) == (signum, False)


@pytest.mark.parametrize(
    ("second", "seconds", "repeated"),
    [
        (signal.SIGINT, SAME_SECONDS + 0.1, True),
        (signal.SIGTERM, SAME_SECONDS + 0.1, True),
        (signal.SIGINT, SAME_SECONDS - 0.1, False),  # the same one once more, from the terminal and from a parent
        (signal.SIGHUP, SAME_SECONDS + 0.1, False),  # a terminal that closes sends several
    ],
)
def test_another_signal_is_noted_too(second: int, seconds: float, repeated: bool) -> None:
    now = [100.0]
    with Signals(lambda: now[0]) as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        now[0] += seconds
        os.kill(os.getpid(), second)
        assert (signals.first, signals.repeated) == (signal.SIGTERM, repeated)


def test_there_is_something_to_read_from_a_signal_until_it_is_drained() -> None:
    def is_readable(signals: Signals) -> bool:
        return bool(select.select([signals.descriptor], [], [], 0)[0])

    with Signals() as signals:
        seen = [is_readable(signals)]
        os.kill(os.getpid(), signal.SIGTERM)
        seen.append(is_readable(signals))
        signals.drain()
        seen.append(is_readable(signals))
    assert seen == [False, True, False]


def test_draining_what_is_empty_does_not_wait() -> None:
    with Signals() as signals:
        signals.drain()
        assert signals.first == 0


def test_afterwards_signals_do_what_they_did_before() -> None:
    before = [signal.getsignal(signum) for signum in Signals.NOTED]
    with Signals():
        assert [signal.getsignal(signum) for signum in Signals.NOTED] != before
    assert [signal.getsignal(signum) for signum in Signals.NOTED] == before


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
