"""Signals to the controller of a sweep: noted, and acted on where it waits anyway. No torch here."""

import contextlib
import os
import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Self

SAME_SECONDS = 0.5  # the terminal and a parent may both pass on one Ctrl-C


class Signals:
    """Notes SIGINT, SIGTERM and SIGHUP while it is entered; there is something to read from `descriptor` then."""

    NOTED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.first = 0  # the number of the first; 0: none yet
        self.repeated = False  # whether another Ctrl-C or SIGTERM came after it, which was not the same once more
        self._clock = clock
        self._first_at = 0.0

    def __enter__(self) -> Self:
        self.descriptor, self._woken = os.pipe()
        for end in (self.descriptor, self._woken):
            os.set_blocking(end, False)
        self._before = {
            signum: signal.signal(signum, self._note)
            for signum in self.NOTED
            if signal.getsignal(signum) != signal.SIG_IGN or signum == signal.SIGINT
        }
        self._waker = signal.set_wakeup_fd(self._woken)
        return self

    def __exit__(self, *_: object) -> None:
        signal.set_wakeup_fd(self._waker)
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        os.close(self.descriptor)
        os.close(self._woken)

    def drain(self) -> None:
        """Read away what there is to read, so that the next signal can be waited for."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.descriptor, 4096)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        now = self._clock()
        if not self.first:
            self.first, self._first_at = signum, now
        elif signum != signal.SIGHUP and now - self._first_at > SAME_SECONDS:
            self.repeated = True
