"""The controller's end of the supervisor: start a job, signal it, read that it has ended. No torch here."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from convarium.errors import RunError
from convarium.sweep.outcome import Ended, Event, Lost, Moved

CLOSING_SECONDS = 5.0


class Processes:
    """Starts the jobs of a sweep in processes of their own and reports what becomes of them.

    isolation: fork (of a process that has imported everything), or spawn (a new interpreter each).
    """

    def __init__(self, isolation: str) -> None:
        self.isolation = isolation
        self.restart()

    def restart(self) -> None:
        """Start the supervisor; after `Lost`, another one."""
        self._channel, theirs = socket.socketpair()
        # what this program can import; OpenBLAS starts threads where it is imported, unless told not to
        environment = {**os.environ, "PYTHONPATH": import_path(), "OPENBLAS_NUM_THREADS": "1"}
        with theirs:
            words = [str(theirs.fileno()), str(os.getpid()), self.isolation]
            command = [sys.executable, "-P", "-m", "convarium.sweep.local.supervisor", *words]
            alone: Any = {"stdin": subprocess.DEVNULL, "start_new_session": True, "pass_fds": [theirs.fileno()]}
            self._supervisor = subprocess.Popen(command, env=environment, **alone)
        self._groups: dict[int, int] = {}  # number of a job -> its process
        self._rest = b""
        self.is_ready = False

    def start(self, number: int, call: str, arguments: Sequence[str], *, log: str, env: dict[str, str]) -> None:
        """Start a process for one of the calls of `convarium.sweep.local.calls`; `number` names it from then on."""
        self._send(start=number, call=call, arguments=list(arguments), log=log, env=env)

    def signal(self, number: int, signum: int) -> None:
        """Signal the whole group of a job, if it is still there."""
        self._send(signal=signum, to=number)

    def poll(self, seconds: float, waker: int | None = None) -> list[Event]:
        """What has happened, waiting so long for the first of it, or until there is something to read from `waker`.

        Raises RunError if jobs cannot be started at all.
        """
        if self._channel.fileno() == -1:  # closed before
            return []
        waiting = [self._channel.fileno()] if waker is None else [self._channel.fileno(), waker]
        if waiting[0] not in select.select(waiting, [], [], seconds)[0]:
            return []
        try:
            got = self._channel.recv(1 << 20)
        except ConnectionError:  # it ended with requests unread
            got = b""
        if not got:
            self._end_groups()
            return [Lost()]
        *lines, self._rest = (self._rest + got).split(b"\n")
        return [event for line in lines if (event := self._event_of(json.loads(line))) is not None]

    def close(self) -> None:
        """End everything that is left."""
        with contextlib.suppress(RunError):
            self.poll(0.0)  # is it ready, and which jobs has it?
        self._channel.close()  # by which the supervisor ends its jobs and itself
        if not self.is_ready:  # it reads nothing before its imports are done, and has no jobs yet
            self._supervisor.kill()
        try:
            self._supervisor.wait(CLOSING_SECONDS)
        except subprocess.TimeoutExpired:
            self._supervisor.kill()
        self._end_groups()

    def _event_of(self, line: dict[str, Any]) -> Event | None:
        if "unfit" in line:
            raise RunError(f"sweep.isolation=fork: not possible here, {line['unfit']}; accepted: spawn")
        if "ready" in line:
            self.is_ready = True
            return None
        if "pid" in line:
            self._groups[line["started"]] = line["pid"]
            return Moved(line["started"], "running", {"pid": line["pid"]})
        self._groups.pop(line["ended"], None)
        return Ended(line["ended"], line["code"])

    def _send(self, **words: object) -> None:
        with contextlib.suppress(ConnectionError):  # `poll` reports that it is lost
            self._channel.sendall(json.dumps(words).encode() + b"\n")

    def _end_groups(self) -> None:
        """Kill what is left of the supervisor's jobs: if it was killed itself, nobody has."""
        self._channel.close()
        self._supervisor.wait()
        for pid in self._groups.values():
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
        self._groups.clear()


def import_path() -> str:
    """PYTHONPATH for a process that is to import what this one can."""
    return os.pathsep.join(path for path in sys.path if path)


def supervised(isolation: str) -> contextlib.closing[Processes]:
    """Processes that end with the context. isolation: fork, spawn, or auto for what is best here."""
    if isolation not in ("fork", "spawn"):
        isolation = "fork" if sys.platform == "linux" else "spawn"
    return contextlib.closing(Processes(isolation))
