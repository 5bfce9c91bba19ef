"""A job in the queue of a sweep or at work: what it needs, and what the controller has seen of it. No torch here."""

import math
from dataclasses import dataclass

from convarium.run.devices import Preflight
from convarium.run.directory import RunDirectory, Status
from convarium.sweep.local.pool import Lease, Share
from convarium.sweep.outcome import stamp
from convarium.sweep.plan import Job


@dataclass
class Task:
    """A job in the queue or at work."""

    number: int
    job: Job
    run: RunDirectory
    share: Share
    preflight: Preflight
    adopted: bool = False  # whether another controller started it and it is still at work
    attempts: int = 0
    lease: Lease | None = None
    began: float | None = None  # when its process began, by the controller's clock; None while it waits for its machine
    since: int = 0  # the stamp of its result when this attempt began
    seen: int = 0
    """The last stamp, and `seen_at` when it was new. Stamps are only compared: their clock may be another machine's."""
    seen_at: float = 0.0
    signalled: Status | None = None  # what the controller has signalled it for: interrupted or timeout
    dies_at: float = math.inf  # when it is killed, since it hangs

    def silence(self, now: float) -> float:
        """Seconds since its last sign of life; none while it waits for its machine."""
        if self.began is None:
            return 0.0
        if (written := stamp(self.run)) != self.seen:
            self.seen, self.seen_at = written, now
        return now - max(self.began, self.seen_at)
