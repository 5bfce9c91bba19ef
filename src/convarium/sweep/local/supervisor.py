"""The process that starts the jobs of a sweep, sees them end, and lets nothing outlive it or its controller.

    python -m convarium.sweep.local.supervisor SOCKET CONTROLLER fork|spawn

It reads and writes lines of JSON over a socket pair, whose other end closes when the controller ends, however that is.
Under `fork` it imports everything that a job needs and runs nothing itself, and a job is a fork of it: the job starts
in a fraction of a second and, since there is no thread and no CUDA context, is as a new process would be. Under `spawn`
a job imports for itself. Every job leads a session and a process group of its own.

    {"start": 7, "call": "run", "arguments": [...], "log": FILE, "env": {...}}   ->  {"started": 7, "pid": ...}
                                                                                 ->  {"ended": 7, "code": ...}
    {"signal": 15, "to": 7}      to the whole group of job 7
"""

import ctypes
import gc
import json
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from typing import Any

from convarium.machine import PR_SET_PDEATHSIG, die_with_parent

PR_SET_CHILD_SUBREAPER = 36
CANNOT_START = 70  # the exit code of a job that could not be
ENDING_SECONDS = 3.0
MORE_TO_BE_SPARED = 500  # of 1,000: where memory runs out, the kernel takes a job and not us


class Supervisor:
    """Starts processes, passes on signals to them, and says when they have ended."""

    def __init__(self, channel: socket.socket, *, fork: bool) -> None:
        self.channel, self.fork = channel, fork
        self.jobs: dict[int, int] = {}  # process -> number of the job, as long as it is not reaped
        self._pid = os.getpid()
        self._unsent = b""

    def serve(self) -> None:
        """Do what is asked until the other end closes; then end all that is left."""
        children, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(woken)
        self._inherited = (children, woken)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self.channel, selectors.EVENT_READ)
        self._selector.register(children, selectors.EVENT_READ)
        self.channel.setblocking(False)
        rest = b""
        self.report(ready=os.getpid())
        try:
            while True:
                for key, ready in self._selector.select():
                    if key.fileobj == children:
                        os.read(children, 1 << 16)
                        self._reap()
                    elif ready & selectors.EVENT_WRITE:
                        self._send()
                    else:
                        got = self.channel.recv(1 << 20)
                        if not got:
                            return
                        *lines, rest = (rest + got).split(b"\n")
                        for line in lines:
                            self._do(json.loads(line))
        except ConnectionError:  # the controller ended with words of ours unread
            return
        finally:
            self._end_all()

    def report(self, **words: Any) -> None:
        """Send a line to the controller once it reads: to wait while it writes itself could take for ever."""
        self._unsent += json.dumps(words).encode() + b"\n"
        self._selector.modify(self.channel, selectors.EVENT_READ | selectors.EVENT_WRITE)

    def _send(self) -> None:
        self._unsent = self._unsent[self.channel.send(self._unsent) :]
        if not self._unsent:
            self._selector.modify(self.channel, selectors.EVENT_READ)

    def _do(self, asked: dict[str, Any]) -> None:
        if "signal" in asked:
            for pid, number in self.jobs.items():
                if number == asked["to"]:
                    _signal_group(pid, asked["signal"])
            return
        try:
            pid = os.fork()
        except OSError as error:  # too many processes, or no memory for one more
            print(f"a job cannot be started: {error.strerror}", file=sys.stderr, flush=True)
            self.report(ended=asked["start"], code=CANNOT_START)
            return
        if pid == 0:
            code = CANNOT_START
            try:
                code = self._become(asked)
            except OSError as error:
                print(f"a job cannot be started: {error}", file=sys.stderr, flush=True)
            finally:
                os._exit(code)
        self.jobs[pid] = asked["start"]
        self.report(started=asked["start"], pid=pid)

    def _become(self, asked: dict[str, Any]) -> int:
        """Be the job; the exit code."""
        os.setsid()
        die_with_parent(self._pid)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for signum in (signal.SIGTERM, signal.SIGCHLD, signal.SIGHUP):
            signal.signal(signum, signal.SIG_DFL)
        self.channel.close()
        self._selector.close()
        for descriptor in self._inherited:
            os.close(descriptor)
        with open(os.devnull) as nothing, open(asked["log"], "ab") as log:
            os.dup2(nothing.fileno(), 0)
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(str(MORE_TO_BE_SPARED))
        environment = {**os.environ, **asked["env"]}
        name, arguments = asked["call"], asked["arguments"]
        if not self.fork:
            words = ["-P", "-m", "convarium.sweep.local.calls", name, json.dumps(arguments)]
            os.execve(sys.executable, [sys.executable, *words], environment)
        os.environ.update(environment)
        # what the job forks dies with it; what it starts anew says so itself
        os.register_at_fork(after_in_child=lambda: die_with_parent(os.getppid()))
        from convarium.sweep.local.calls import call

        return call(name, arguments)

    def _reap(self) -> None:
        """Report the jobs that have ended; what one left behind in its group ends as well."""
        with suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                pid = ended.si_pid
                if pid in self.jobs:
                    _signal_group(pid, signal.SIGKILL)  # while nobody else can have the number
                code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                if pid in self.jobs:
                    self.report(ended=self.jobs.pop(pid), code=code)

    def _end_all(self) -> None:
        """End the jobs, then what left their groups and becomes ours as they die, until nobody is left."""
        for pid in self.jobs:
            _signal_group(pid, signal.SIGKILL)
        end = time.monotonic() + ENDING_SECONDS
        with suppress(ChildProcessError):
            while time.monotonic() < end:
                with suppress(OSError):  # not on Linux
                    for word in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
                        with suppress(OSError):
                            os.kill(int(word), signal.SIGKILL)
                if os.waitpid(-1, os.WNOHANG)[0] == 0:
                    time.sleep(0.01)


def _signal_group(pid: int, signum: int) -> None:
    try:
        os.killpg(pid, signum)
    except OSError:  # it has no group yet, or no members any more (macOS: only dead ones)
        with suppress(OSError):
            os.kill(pid, signum)


PACKAGES = tuple(f"convarium.{name}" for name in ("layers", "archs", "learn", "observe", "data"))  # any may be chosen
MODULES = (
    "convarium.sweep.local.job",
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "PIL.PngImagePlugin", "PIL.JpegImagePlugin"),
    *("omegaconf", "torch.utils.serialization.config"),
)


def preload() -> None:
    """Import what jobs need, and compute what is the same for all of them; no thread must be left by it."""
    for name in MODULES:
        import_module(name)
    for package in PACKAGES:
        for module in walk_packages(import_module(package).__path__, f"{package}."):
            import_module(module.name)
    from convarium.run.directory import git_commit, versions

    git_commit()
    versions()
    gc.collect()
    gc.freeze()  # a job that collects its garbage does not look at ours, by which it would copy it


def main(channel: str, controller: str, isolation: str) -> int:
    """Serve the controller at the other end of file descriptor `channel`."""
    die_with_parent(int(controller))  # whatever the imports are at
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    supervisor = Supervisor(socket.socket(fileno=int(channel)), fork=isolation == "fork")
    if supervisor.fork:
        preload()
        threads = Path("/proc/self/task")
        if threads.is_dir() and len(list(threads.iterdir())) > 1:
            supervisor.channel.sendall(b'{"unfit": "something it imported has started a thread"}\n')
            return 1
    if sys.platform == "linux":  # from here on the closed socket says so, and leaves time to end the jobs
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, 0)
    supervisor.serve()
    return 0


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:]))
