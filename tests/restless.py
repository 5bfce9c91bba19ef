"""Layers that start processes of their own when they are built; run with CONVARIUM_TRUST=restless.

Chosen as `norm._target_=restless.Forks`, beside `norm=none`, so that even a job that only checks an experiment builds
them. Each writes the numbers of its processes into the file that the variable NOTES names, a line for each.
"""

import os
import signal
import subprocess
import time
from pathlib import Path
from types import FrameType

from torch import nn


def note(pid: int) -> None:
    with Path(os.environ["NOTES"]).open("a") as file:
        file.write(f"{pid}\n")


class Leaves(nn.Module):
    """Leaves a process behind in its group."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        note(subprocess.Popen(["sleep", "1000"]).pid)


class Flees(nn.Module):
    """Starts a process that leaves the group, and does nothing from then on."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        note(subprocess.Popen(["sleep", "1000"], start_new_session=True).pid)
        time.sleep(1000)


class Forks(nn.Module):
    """Forks a process, and neither does anything from then on."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        os.fork()
        note(os.getpid())
        time.sleep(1000)


class Listens(nn.Module):
    """Forks a process, and each of them writes its number once more whenever it gets a SIGUSR1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        signal.signal(signal.SIGUSR1, self.heard)
        os.fork()
        note(os.getpid())
        while True:
            time.sleep(1000)

    def heard(self, signum: int, frame: FrameType | None) -> None:
        note(os.getpid())
