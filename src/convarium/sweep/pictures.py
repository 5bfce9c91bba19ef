"""The pictures of short jobs, drawn when the last one has ended: they take as long as such a job. No torch here."""

import signal
from collections.abc import Sequence

from convarium.drawing import is_left
from convarium.machine import available_cores
from convarium.progress_bar import Progress
from convarium.run.directory import RunDirectory
from convarium.sweep.local.processes import Processes
from convarium.sweep.local.signals import Signals
from convarium.sweep.outcome import Ended, Lost

TICK_SECONDS = 0.2


def draw_pictures(runs: Sequence[RunDirectory], processes: Processes, *, log: str) -> int:
    """Draw what the runs have left, in as many processes as there are cores; 0, or the signal that ended it before its
    end: what is left then is drawn when the sweep is continued."""
    left = {run.path / "figures": run for run in runs if is_left(run.path / "figures")}
    if not left:
        return 0
    shares = [[*left.values()][first :: available_cores()] for first in range(min(available_cores(), len(left)))]
    for number, share in enumerate(shares, 1):
        processes.start(-number, "draw", [str(run.path) for run in share], log=log, env={})
    at_work = {-number for number in range(1, len(shares) + 1)}
    with Signals() as signals, Progress() as progress:
        progress.begin(len(left), "jobs", "draw the pictures")
        while at_work:
            for event in processes.poll(TICK_SECONDS, signals.descriptor):
                if isinstance(event, Ended):
                    at_work.discard(event.number)
                elif isinstance(event, Lost):
                    at_work.clear()
            if signals.first:
                for number in at_work:
                    processes.signal(number, signal.SIGKILL if signals.repeated else signal.SIGTERM)
                signals.drain()
            progress.advance(len(left) - progress.done - sum(map(is_left, left)))
    return signals.first
