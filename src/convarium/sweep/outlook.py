"""Where a sweep stands and when it will be done, as its controller knows it. No torch here."""

from collections.abc import Collection
from typing import Any, NamedTuple

from convarium.results.outlook import Settling, Standing, clock, seconds_to_go, standing
from convarium.sweep.task import Task


class Shown(NamedTuple):
    """What a terminal shows of a sweep, every second."""

    running: list[Standing]
    done: int  # failed ones too
    total: int
    waiting: int
    failed: int
    to_go: str
    is_stopping: bool = False


class Outlook:
    """What is known of jobs at work, from their signs of life, and how long jobs take."""

    def __init__(self) -> None:
        self.took: list[float] = []  # seconds, of those that ended well
        self._seen: dict[int, tuple[int, dict[str, Any]]] = {}  # number of a job -> stamp of its result, and that
        self._settling = Settling()

    def standings(self, running: Collection[Task], now: float) -> list[Standing]:
        """How far each job at work is."""
        return [
            standing(
                str(task.job), self._result(task), task.job.config, 0.0 if task.began is None else now - task.began
            )
            for task in running
        ]

    def to_go(self, running: Collection[Task], queued: int, now: float) -> str:
        """When all will be done; "" as long as nothing tells. It does not jump where a job takes longer than others."""
        left = self._settling(seconds_to_go(self.took, self.standings(running, now), queued), now)
        return "" if left is None else f"{clock(left)} to go"

    def _result(self, task: Task) -> dict[str, Any]:
        """What this attempt has written last; read once."""
        if task.seen in (0, task.since):
            return {}
        if self._seen.get(task.number, (0, {}))[0] != task.seen:
            self._seen[task.number] = task.seen, task.run.written_result()
        return self._seen[task.number][1]
