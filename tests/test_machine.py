"""Signals that wait until what must be whole is whole."""

import signal
import threading
import time

import pytest

from convarium.machine import AT_ONCE_SECONDS, signals_wait


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_heard_when_all_is_done(signum: signal.Signals) -> None:
    done, heard = [], []
    before = signal.signal(signum, lambda number, _: heard.append((number, list(done))))
    try:
        with signals_wait(signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(signum)
            signal.raise_signal(signum)  # by the terminal and by a parent
            done.append("this")
    finally:
        signal.signal(signum, before)
    assert heard == [(signum, ["this"])]


def test_a_second_ctrl_c_does_not_wait() -> None:
    def draw() -> None:
        with signals_wait(signal.SIGINT, signal.SIGTERM):
            signal.raise_signal(signal.SIGTERM)
            time.sleep(AT_ONCE_SECONDS + 0.05)
            signal.raise_signal(signal.SIGTERM)
            done.append("this")
            signal.raise_signal(signal.SIGINT)
            done.append("not this")

    done: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        draw()
    assert done == ["this"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_another_thread_may_draw_too() -> None:
    def draw() -> None:
        with signals_wait(signal.SIGINT):
            done.append(True)

    done: list[bool] = []
    thread = threading.Thread(target=draw)
    thread.start()
    thread.join()
    assert done == [True]
