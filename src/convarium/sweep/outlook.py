"""Where a sweep stands and when it will be done, in one line. No torch here."""

from collections.abc import Collection
from datetime import timedelta
from typing import Any

from convarium.sweep.task import Task

SETTLING_SECONDS = 10.0  # in which the time to go takes up what is new


class Outlook:
    """What is known of jobs at work, from their signs of life, and how long jobs take."""

    def __init__(self) -> None:
        self.took: list[float] = []  # seconds, of those that ended well
        self._seen: dict[int, tuple[int, dict[str, Any]]] = {}  # number of a job -> stamp of its result, and that
        self._left: tuple[float, float] | None = None  # seconds to go, and when that was

    def line(self, running: Collection[Task], queued: int, failed: int, now: float) -> str:
        """How many are at work and how many failed, the time to go, and how far one of those at work is."""
        parts = [f"{len(running)} running"] + ([f"{failed} failed"] if failed else [])
        parts += [to_go] if (to_go := self.to_go(running, queued, now)) else []
        parts += [next((standing for task in running if (standing := self._standing(task))), "")]
        return "  ".join(part for part in parts if part)

    def to_go(self, running: Collection[Task], queued: int, now: float) -> str:
        """When all will be done; "" as long as nothing tells. It does not jump where a job takes longer than others."""
        left = self._estimate(running, queued, now)
        if left is None:
            return ""
        if self._left is not None:
            before, at = self._left
            expected = max(0.0, before - (now - at))
            left = expected + (left - expected) * min(1.0, (now - at) / SETTLING_SECONDS)
        self._left = left, now
        return f"{timedelta(seconds=round(left))} to go"

    def _estimate(self, running: Collection[Task], queued: int, now: float) -> float | None:
        elapsed = {task.number: 0.0 if task.began is None else now - task.began for task in running}
        whole = {task.number: elapsed[task.number] / done for task in running if (done := self._share(task))}
        known = [*self.took, *whole.values()]
        if not known:
            return None
        mean = sum(known) / len(known)
        left = [max(0.0, whole.get(number, mean) - seconds) for number, seconds in elapsed.items()]
        return max([0.0, *left, (sum(left) + queued * mean) / max(1, len(left))])

    def _share(self, task: Task) -> float:
        """How much of a job is done, as far as it has said."""
        result = self._result(task)
        done, whole = result.get("steps"), result.get("total_steps")
        if not whole:  # older ones do not say it
            done, whole = result.get("epochs"), _max_epochs(task)
        return min(1.0, (done or 0) / whole) if whole > 0 else 0.0

    def _standing(self, task: Task) -> str:
        result = self._result(task)
        if not result.get("steps"):
            return ""
        epoch, last = result.get("epochs", 0) + 1, _max_epochs(task)
        where = f"epoch {min(epoch, last)}/{last}" if last > 0 else f"epoch {epoch}"
        monitor = (task.job.config.get("callbacks") or {}).get("checkpoint", {}).get("monitor")
        score = (result.get("metrics") or {}).get(monitor)
        return f"{task.job}: {where}" + ("" if score is None else f" {monitor} {score:.4f}")

    def _result(self, task: Task) -> dict[str, Any]:
        """What this attempt has written last; read once."""
        if task.seen in (0, task.since):
            return {}
        if self._seen.get(task.number, (0, {}))[0] != task.seen:
            self._seen[task.number] = task.seen, task.run.written_result()
        return self._seen[task.number][1]


def _max_epochs(task: Task) -> int:
    epochs = (task.job.config.get("trainer") or {}).get("max_epochs")
    return epochs if isinstance(epochs, int) else 0
