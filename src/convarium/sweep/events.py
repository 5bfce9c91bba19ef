"""What becomes of a job that was started, as whoever starts jobs tells it. No torch here."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from convarium.run.directory import Status


class Verdict(NamedTuple):
    """How a job ended: a status and, unless it is ok, one line."""

    status: Status
    error: str | None


OUT_OF_MEMORY = Verdict("oom", "ended by the kernel for lack of memory")


class Waiting(NamedTuple):
    """A job waits for its machine, for the first time or again; `facts` tell where."""

    number: int
    facts: dict[str, Any]


class Started(NamedTuple):
    """A job runs; `facts` tell where."""

    number: int
    facts: dict[str, Any]


class Ended(NamedTuple):
    """A job has ended; `code` is negative for a signal. `word`: what is to be made of it if it says nothing itself."""

    number: int
    code: int
    word: Verdict | None = None


class Lost(NamedTuple):
    """All jobs at work have ended, for whoever started them has."""


Event = Waiting | Started | Ended | Lost


class Starter(Protocol):
    """Who starts jobs and tells what becomes of them."""

    def start(self, number: int, call: str, arguments: Sequence[str], *, log: str, env: dict[str, str]) -> None:
        """Start a call of `convarium.sweep.local.calls`; `number` is how both speak of it."""

    def signal(self, number: int, signum: int) -> None:
        """Signal all processes of a job, if it is still there."""

    def poll(self, seconds: float, waker: int | None = None) -> list[Event]:
        """What has happened, waiting so long for the first of it, or until there is something to read from `waker`."""

    def restart(self) -> None:
        """Be ready again after `Lost`."""
