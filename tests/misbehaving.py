"""Layers that behave well for 20 steps and then end a run in every way there is; run with CONVARIUM_TRUST=misbehaving.

Chosen as `norm._target_=misbehaving.Raises`, beside `norm=none`. As norms they are also a way to look into a run.
"""

import ctypes
import os
import signal
import sys
import time
from pathlib import Path

import torch
from torch import Tensor, nn

GOOD_STEPS = 20


class Fine(nn.Module):
    """Nothing, at every step."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.device.type != "meta":
            self.steps += 1
            if self.steps > GOOD_STEPS:
                return self.then(x)
        return x

    def then(self, x: Tensor) -> Tensor:
        return x


class Raises(Fine):
    def then(self, x: Tensor) -> Tensor:
        raise KeyError("the cause")


class Exits(Fine):
    def then(self, x: Tensor) -> Tensor:
        sys.exit(3)


class Leaves(Fine):
    def then(self, x: Tensor) -> Tensor:
        os._exit(3)


class Segfaults(Fine):
    def then(self, x: Tensor) -> Tensor:
        ctypes.string_at(0)
        return x


class IsKilled(Fine):
    def then(self, x: Tensor) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return x


class Diverges(Fine):
    def then(self, x: Tensor) -> Tensor:
        return x * float("nan")


class Hangs(Fine):
    def then(self, x: Tensor) -> Tensor:
        time.sleep(1000)
        return x


class AsksTooMuch(Fine):
    def then(self, x: Tensor) -> Tensor:
        return torch.zeros(1 << 45)


class Eats(Fine):
    """All the memory of a control group of its own, until the kernel ends it."""

    def then(self, x: Tensor) -> Tensor:
        group = small_group()
        (group / "cgroup.procs").write_text(str(os.getpid()))
        eaten = []
        while True:
            eaten.append(bytearray(os.urandom(1 << 20)))


def small_group() -> Path:
    """A control group (version 1 or 2) of 64 MB below our own. OSError where we may not make one."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if controllers == "memory" or number == "0":
            mounted = Path("/sys/fs/cgroup", *(["memory"] if number != "0" else []))
            limit = "memory.limit_in_bytes" if number != "0" else "memory.max"
            group = mounted / path.lstrip("/") / "convarium-test"
            try:
                group.mkdir(exist_ok=True)
                (group / limit).write_text(str(64 << 20))
            except OSError:
                continue
            return group
    raise OSError("no control group can be made here")
