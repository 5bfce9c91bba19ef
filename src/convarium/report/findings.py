"""What the numbers of a table say, in sentences: the best setting, and whether it is better than the others."""

import math
from collections import Counter

from convarium.config.accepts import shown
from convarium.results.comparisons import ALPHA, Comparison, against_best
from convarium.results.intervals import within
from convarium.results.rows import FOLD, Group, Table
from convarium.run.directory import SUCCEEDED
from convarium.wording import counted

UNSTARTED = ("queued", "running")


def answer(table: Table) -> list[str]:
    """The sentences that a page begins with; the first is the answer."""
    counts = Counter(row.status for row in table.rows)
    waiting = sum(counts[status] for status in UNSTARTED)
    unfinished = [f"{waiting} of {counted(len(table.rows), 'run')} have not ended: this may change."] if waiting else []
    chief = table.chief
    best = next((group for group in table.groups if chief in group.spreads), None)
    if best is None:
        if not table.rows:
            return ["There is no run yet."]
        ended = ", ".join(f"{number} {status}" for status, number in counts.most_common())
        why = "" if counts.keys() & {*SUCCEEDED, *UNSTARTED} else " The reasons stand at the end."
        return [f"No run has a {chief} of one that ended well ({ended}).{why}"]
    return [
        _best(table, best),
        *_test(table, best),
        *_doubts(best, chief),
        *_compared(table, best),
        *_once(table),
        *_monitors(table),
        *unfinished,
    ]


def _monitors(table: Table) -> list[str]:
    """That not all runs chose their weights by the figure by which they are in order here."""
    if not table.other_monitors:
        return []
    others = " or ".join(table.other_monitors)
    return [f"Some runs chose their best weights by {others}; all are in order by {table.monitor}."]


def named(group: Group) -> str:
    """The answers of a group; of one without any its job."""
    return " ".join(f"{axis}={shown(value)}" for axis, value in group.swept.items()) or group.rows[0].job


def _over(group: Group) -> str:
    axis = [*group.over][-1]
    return "fold" if axis == FOLD else "seed"


def _figure(group: Group, metric: str) -> str:
    """A mean, its interval, and over how many values it is one."""
    figure = group.spreads[metric]
    if figure.number == 1:
        return f"{figure.mean:.4f} (one {_over(group)})"
    interval = within(figure.mean, figure.low, figure.high)
    return f"{figure.mean:.4f}{interval}, the mean of {counted(figure.number, _over(group))} with its 95 % interval"


def _best(table: Table, best: Group) -> str:
    which = "The lowest" if table.mode == "min" else "The highest"
    mean = f"mean {table.chief}" if best.spreads[table.chief].number > 1 else table.chief
    return f"{which} {mean} has {named(best)}: {_figure(best, table.chief)}."


def _test(table: Table, best: Group) -> list[str]:
    measured = f"test/{table.monitor.rpartition('/')[2]}"
    return [f"Its {measured} is {_figure(best, measured)}."] if measured in best.spreads else []


def _doubts(best: Group, metric: str) -> list[str]:
    """Which is wider: the interval over the replicates, or what so small a set of images knows at all."""
    figure, resolution = best.spreads[metric], best.resolution(metric)
    if resolution is None:
        return []
    low, high = resolution
    own = figure.high - figure.low if figure.number > 1 else -math.inf
    if high - low <= own:
        return []
    beside = f"more than the spread over the {_over(best)}s" if figure.number > 1 else f"whatever the {_over(best)}"
    return [f"The images that measure {metric} leave {low:.4f} to {high:.4f} open (Wilson), {beside}."]


def _compared(table: Table, best: Group) -> list[str]:
    comparisons = against_best(table)
    if not comparisons:
        return []
    over, number = _over(best), len(comparisons)
    if all(one.difference.number == 1 for one in comparisons):
        return [f"With one {over} nothing can be said of whether it is better than another: compare several {over}s."]
    said = [one for one in comparisons if one.is_said]
    how = f"p < {ALPHA:g}, paired by {over} where both have it, Holm's correction for {counted(number, 'comparison')}"
    if len(said) == number:
        lead = "the other setting" if number == 1 else f"each of the other {number} settings"
        return [f"It is better than {lead} ({how}). The next is {_against(comparisons[0])}."]
    rest = [one for one in comparisons if not one.is_said]
    if not said:
        others = "the others" if number > 1 else "the other"
        return [f"That it is better than {others} cannot be said ({how}). The next is {_against(rest[0])}."]
    lead = f"It is better than {len(said)} of the other {number} settings ({how})."
    return [f"{lead} Of the other {len(rest)} that cannot be said; the nearest is {_against(rest[0])}."]


def _once(table: Table) -> list[str]:
    same = sum(bool(row.same_as) for row in table.rows)
    train = "trains" if same == 1 else "train"
    said = f"{same} of {counted(len(table.rows), 'job')} {train} by construction the same network as another one"
    return [f"{said}, whose run counts once (column same as)."] if same else []


def _against(one: Comparison) -> str:
    difference = one.difference
    ends = "" if math.isinf(difference.low) else f" ({difference.low:+.4f} to {difference.high:+.4f})"
    return f"{named(one.other)}: difference {difference.mean:+.4f}{ends}, n = {difference.number}, p = {one.p:.2g}"
