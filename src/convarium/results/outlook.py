"""How far jobs are and how long they will take, from what they have written. No torch here."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, NamedTuple

SETTLING_SECONDS = 10.0  # in which the time to go takes up what is new


class Standing(NamedTuple):
    """How far a job at work is."""

    job: str
    seconds: float  # since it began
    share: float = 0.0  # of its work that is done; 0: it has not said so yet
    epoch: int = 0  # the one that it is in, from 1; 0: it has not said so yet
    epochs: int = 0  # of how many; 0: nobody knows
    monitor: str = ""
    score: float | None = None
    """What the monitored metric was last."""

    @property
    def left(self) -> float | None:
        """Seconds to go, None as long as nothing tells."""
        return max(0.0, self.seconds / self.share - self.seconds) if self.share else None

    @property
    def where(self) -> str:
        """ "3/10", "3" where the last epoch is not known, "" before the first step."""
        if not self.epoch:
            return ""
        return f"{min(self.epoch, self.epochs)}/{self.epochs}" if self.epochs else str(self.epoch)


def standing(job: str, result: Mapping[str, Any], config: Mapping[str, Any], seconds: float) -> Standing:
    """What a job has said last in its result.json; `result` is empty if this attempt has written none."""
    last = (config.get("trainer") or {}).get("max_epochs")
    epochs = last if isinstance(last, int) and last > 0 else 0
    done, whole = result.get("steps"), result.get("total_steps")
    if not whole:  # older ones do not say it
        done, whole = result.get("epochs"), epochs
    share = min(1.0, (done or 0) / whole) if whole > 0 else 0.0
    checkpoint = (config.get("callbacks") or {}).get("checkpoint") or {}
    monitor = str(checkpoint.get("monitor") or "")
    score = (result.get("metrics") or {}).get(monitor)
    epoch = (result.get("epochs") or 0) + 1 if result.get("steps") else 0
    return Standing(job, seconds, share, epoch, epochs, monitor, score)


def seconds_to_go(took: Sequence[float], running: Sequence[Standing], waiting: int) -> float | None:
    """Seconds until all jobs are done, None as long as nothing tells.

    took: the seconds of those that ended well. Those that wait take as long as the mean of these and of what the
    running ones will take, as many at a time as run now.
    """
    whole = {place: one.seconds / one.share for place, one in enumerate(running) if one.share}
    known = [*took, *whole.values()]
    if not known:
        return None
    mean = sum(known) / len(known)
    left = [max(0.0, whole.get(place, mean) - one.seconds) for place, one in enumerate(running)]
    return max([0.0, *left, (sum(left) + waiting * mean) / max(1, len(left))])


class Settling:
    """A time to go that does not jump where a job takes longer than others."""

    def __init__(self) -> None:
        self._left: tuple[float, float] | None = None  # seconds to go, and when that was

    def __call__(self, left: float | None, now: float) -> float | None:
        """The estimate of this moment, taken up little by little."""
        if left is None:
            return None
        if self._left is not None:
            before, at = self._left
            expected = max(0.0, before - (now - at))
            left = expected + (left - expected) * min(1.0, (now - at) / SETTLING_SECONDS)
        self._left = left, now
        return left


def clock(seconds: float | None) -> str:
    """ "0:12:03", "" of None."""
    return "" if seconds is None else str(timedelta(seconds=round(seconds)))
