"""Ending a run politely: signals are noted, every rank stops after the same step, the caller hears of it."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

import lightning.pytorch as L
import torch
import torch.distributed as dist

from convarium.machine import handlers_given_back

SECOND_CTRL_C_SECONDS = 2.0


class Interrupted(Exception):
    """A signal ended the run, in training after a checkpoint was saved; `signum` says which."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class StopRequest:
    """Notes SIGTERM, SIGINT and SIGHUP (unless nohup ignores that), and lets all ranks learn of it at the same step.

    While a training asks for it with `agreed`, the first Ctrl-C waits for the step to end, a second one does not.
    Elsewhere, in set-up or a test, there is nothing to save: a signal raises Interrupted where it comes. With several
    ranks an all-reduce over gloo is started after each step and read after the next, so that no step waits for it.
    """

    def __init__(self) -> None:
        self.signum = 0
        self.waits = False
        """Whether a signal is only noted, for `agreed` or for nobody."""
        self._answers = False  # whether it is answered, for somebody waits
        self._noted_at = 0.0
        self._group: dist.ProcessGroup | None = None
        self._flag = torch.zeros(1, dtype=torch.int32)
        self._asked: dist.Work | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals meanwhile."""
        noted = [signal.SIGTERM, signal.SIGINT]
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
            noted.append(signal.SIGHUP)
        with handlers_given_back(*noted):
            for signum in noted:
                signal.signal(signum, self._note)
            yield

    def begin(self, trainer: L.Trainer) -> None:
        """From here on `agreed` is asked after every step."""
        self.waits, self._answers = True, trainer.is_global_zero
        if trainer.world_size > 1:
            self._group = dist.new_group(backend="gloo")  # type: ignore[assignment]  # -100 where a rank is not in it

    def agreed(self) -> int:
        """The signal that every rank knows of by now, 0 for none. To be called by all ranks, once per step."""
        if self._group is None:
            return self.signum
        known = 0
        if self._asked is not None:
            self._asked.wait()
            known = int(self._flag.item())
        self._flag.fill_(max(self.signum, known))
        self._asked = dist.all_reduce(self._flag, dist.ReduceOp.MAX, group=self._group, async_op=True)
        return known

    def finish(self) -> None:
        """`agreed` is asked no more. Raises Interrupted, on all ranks, for a signal that came since the last time."""
        self.waits = self._answers = False
        signum = self.agreed()
        if self._asked is not None:
            self._asked.wait()
            self._asked, signum = None, int(self._flag.item())
        if signum:
            raise Interrupted(signum)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.signum:
            self.signum, self._noted_at = signum, now
            if not self.waits:
                raise Interrupted(signum)
            if self._answers:  # not by print, which may be at work
                with suppress(OSError):
                    os.write(2, b"\nstopping after this step; Ctrl-C once more: at once\n")
        # the terminal and the parent may both pass on one Ctrl-C
        elif signum == signal.SIGINT and now - self._noted_at > SECOND_CTRL_C_SECONDS:
            raise KeyboardInterrupt
