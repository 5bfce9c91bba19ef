"""A job in the queue of a sweep or at work: what it needs, and what the controller has seen of it. No torch here."""

import math
from dataclasses import dataclass
from typing import Any

from convarium.machine import threads_of
from convarium.results.directory import SweepDirectory
from convarium.run.devices import Preflight
from convarium.run.directory import RunDirectory, Status
from convarium.sweep.local.pool import Lease, Share
from convarium.sweep.outcome import stamp
from convarium.sweep.plan import Job, training_key


@dataclass
class Task:
    """A job in the queue or at work."""

    number: int
    job: Job
    run: RunDirectory
    share: Share
    preflight: Preflight
    is_checked: bool = True  # else by its own process only, and `preflight` is that of another job of its sweep
    adopted: bool = False  # whether another controller started it and it is still at work
    attempts: int = 0
    lease: Lease | None = None
    began: float | None = None  # when its process began, by the controller's clock; None while it waits for its machine
    since: int = 0  # the stamp of its result when this attempt began
    seen: int = 0
    """The last stamp, and `seen_at` when it was new. Stamps are only compared: their clock may be another machine's."""
    seen_at: float = 0.0
    signalled: Status | None = None  # what the controller has signalled it for: interrupted, timeout or pruned
    dies_at: float = math.inf  # when it is killed, since it hangs

    @classmethod
    def planned(
        cls,
        sweep: SweepDirectory,
        number: int,
        job: Job,
        share: Share,
        preflight: Preflight,
        settings: dict[str, Any],
        threads: int | None,
        *,
        elsewhere: bool = False,
        **more: Any,
    ) -> "Task":
        """A job with its place in the sweep and its threads: as many as asked for, or its share of the cores allows."""
        run = sweep.run(job.name)
        each = threads or max(1, share.cores // preflight.placement.devices)
        if not threads and not elsewhere:
            each = min(each, threads_of(1))
        config = {**job.config, "run_dir": str(run.path), "threads": each}
        config["sweep"] = {**settings, "swept": job.swept}  # for trackers: what is special about this run
        return cls(number, job._replace(config=config), run, share, preflight, **more)

    def freeze(self, sweep: SweepDirectory, *, is_new: bool) -> dict[str, Any]:
        """Write what the job needs into its folder; the line for the manifest, which is to be written after it."""
        self.run.path.mkdir(parents=True, exist_ok=True)
        self.run.save_config(self.job.config, self.job.overrides)
        training = training_key(self.job, self.preflight.network)
        told = self.job.told | ({"training": training} if training else {}) if is_new else {}
        return sweep.entry(self.job.name, "queued", **told)

    def silence(self, now: float) -> float:
        """Seconds since its last sign of life; none while it waits for its machine."""
        if self.began is None:
            return 0.0
        if (written := stamp(self.run)) != self.seen:
            self.seen, self.seen_at = written, now
        return now - max(self.began, self.seen_at)
