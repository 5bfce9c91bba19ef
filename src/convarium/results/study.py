"""The answer of a study: what its numbers say of each claim, and one sentence made from them. No torch here."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from convarium.config.study import Claim, Study
from convarium.results.comparisons import ALPHA, Difference, difference, holm
from convarium.results.rows import SEED, Group, Row, Table, is_accuracy
from convarium.wording import counted


class Finding(NamedTuple):
    """What the numbers say of one claim."""

    claim: Claim
    difference: Difference | None
    """Of the metric, where it is claimed to be higher less where it is claimed to be lower; None: not measured."""
    p: float  # of a difference of exactly `claim.by`, corrected for the number of claims (Holm)
    zeros: int = 0  # jobs that diverged, and count as 0

    @property
    def verdict(self) -> str:
        """holds, does not hold, or cannot be said."""
        if self.difference is None or self.p >= ALPHA:
            return "cannot be said"
        return "holds" if self.difference.mean > self.claim.by else "does not hold"

    def __str__(self) -> str:
        if self.difference is None:
            return f"it cannot be said that {self.claim.says}: {self.claim.metric} was not measured in both"
        zeros = f", {self.zeros} of the jobs diverged and count as 0" if self.zeros else ""
        one, unit = self.difference, "pair" if self.difference.is_paired else "sample"
        ends = f", {one.low:+.4f} to {one.high:+.4f}" if one.low > float("-inf") else ""
        numbers = f"{self.claim.metric} {one.mean:+.4f}{ends}, {counted(one.number, unit)}, p = {self.p:.2g}{zeros}"
        return f"it {self.verdict} that {self.claim.says} ({numbers})"


class Answer(NamedTuple):
    """What a study has come to."""

    sentence: str
    findings: list[Finding]


def answer(table: Table, study: Study) -> Answer:
    """Test every claim; differences are paired by seed (or fold), and corrected for the number of claims."""
    axis = table.replicates[-1] if table.replicates else SEED
    found = [_measure(table, claim, axis) for claim in study.claims]
    corrected = iter(holm([one.p for one in found if one.difference is not None]))
    findings = [one if one.difference is None else one._replace(p=next(corrected)) for one in found]
    sentence = "; ".join(map(str, findings))
    return Answer(f"{sentence[:1].upper()}{sentence[1:]}.", findings)


def _measure(table: Table, claim: Claim, axis: str) -> Finding:
    """What the numbers say of one claim, before any correction."""
    sides = [rows_at(table, place) for place in (claim.more, claim.less)]
    more, less = (values(table, rows, claim.metric, axis) for rows in sides)
    share = is_accuracy(claim.metric, (*more.values(), *less.values()))
    grain = Group({}, [row for rows in sides for row in rows], {}).grain(claim.metric)
    beyond = difference({seed: figure - claim.by for seed, figure in more.items()}, less, axis, grain=grain)
    zeros = sum(counts_as_zero(table, row, claim.metric) for rows in sides for row in rows)
    found = difference(more, less, axis, share=share, grain=grain)
    return Finding(claim, found, 1.0 if beyond is None else beyond.p, zeros)


def rows_at(table: Table, place: Mapping[str, Any]) -> list[Row]:
    """The jobs with these values of these axes."""
    return [row for row in table.rows if all(row.swept.get(key) == value for key, value in place.items())]


def values(table: Table, rows: Sequence[Row], metric: str, axis: str) -> dict[Any, float]:
    """Seed -> the metric of these jobs of the table, a mean over all else; 0 of one that `counts_as_zero`."""
    counted_rows = [
        row._replace(status="ok", figures={metric: 0.0}) if counts_as_zero(table, row, metric) else row for row in rows
    ]
    return Group({}, counted_rows, {}).values(metric, axis)


def counts_as_zero(table: Table, row: Row, metric: str) -> bool:
    """Whether a job has diverged and the metric is a share of images that are right, which of a network whose scores
    are no numbers is 0. Leaving it out would leave out just what a question about divergence asks for."""
    found = [figure for one in table.rows if (figure := one.figures.get(metric)) is not None]
    return row.status == "diverged" and bool(found) and is_accuracy(metric, found)
