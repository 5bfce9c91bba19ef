"""Ending a run politely: SIGTERM and Ctrl-C are noted, every rank stops after the same step, the caller hears of it."""

import ctypes
import os
import signal
import sys
import time
from types import FrameType

import lightning.pytorch as L
import torch
import torch.distributed as dist

PR_SET_PDEATHSIG = 1
SECOND_CTRL_C_SECONDS = 2.0


class Interrupted(Exception):
    """A signal ended the run after a checkpoint was saved; `signum` says which."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum


class StopRequest:
    """Notes SIGTERM and SIGINT, and lets all ranks learn of it at the same step.

    The first Ctrl-C waits for the step to end, a second one does not. With several ranks an all-reduce over gloo is
    started after each step and read after the next, so that no step waits for it.
    """

    def __init__(self) -> None:
        self.signum = 0
        self._noted_at = 0.0
        self._group: dist.ProcessGroup | None = None
        self._flag = torch.zeros(1, dtype=torch.int32)
        self._asked: dist.Work | None = None

    def listen(self, trainer: L.Trainer) -> None:
        """Install the handlers; from `on_train_start` on, or Lightning puts its own in front."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._note)
        if trainer.world_size > 1:
            self._group = dist.new_group(backend="gloo")  # type: ignore[assignment]

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
        """Wait for the exchange under way, before the process group goes."""
        if self._asked is not None:
            self._asked.wait()
            self._asked = None

    def _note(self, signum: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        # the terminal and the parent may both pass on one Ctrl-C
        if self.signum and signum == signal.SIGINT and now - self._noted_at > SECOND_CTRL_C_SECONDS:
            raise KeyboardInterrupt
        if not self.signum:
            self._noted_at = now
            self.signum = signum


def die_with_parent(parent: int) -> None:
    """End this process, whatever it is doing, when process `parent` ends (Linux; elsewhere torch's launcher tries).

    The kernel sends the signal when the parent's *thread* that started this process ends: start from the main thread.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)
