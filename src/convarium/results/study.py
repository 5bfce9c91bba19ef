"""The answer of a study: what its numbers say of each claim, and one sentence made from them. No torch here."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from convarium.config.study import Claim, Study
from convarium.results.comparisons import ALPHA, Difference, difference, holm
from convarium.results.rows import SEED, Group, Table
from convarium.wording import counted


class Finding(NamedTuple):
    """What the numbers say of one claim."""

    claim: Claim
    difference: Difference | None
    """Of the metric, where it is claimed to be higher less where it is claimed to be lower; None: not measured."""
    p: float  # of a difference of exactly `claim.by`, corrected for the number of claims (Holm)

    @property
    def verdict(self) -> str:
        """holds, does not hold, or cannot be said."""
        if self.difference is None or self.p >= ALPHA:
            return "cannot be said"
        return "holds" if self.difference.mean > self.claim.by else "does not hold"

    def __str__(self) -> str:
        if self.difference is None:
            return f"that {self.claim.says} cannot be said: {self.claim.metric} was not measured in both"
        one, unit = self.difference, "pair" if self.difference.is_paired else "sample"
        ends = f", {one.low:+.4f} to {one.high:+.4f}" if one.low > float("-inf") else ""
        numbers = f"{self.claim.metric} {one.mean:+.4f}{ends}, {counted(one.number, unit)}, p = {self.p:.2g}"
        return f"that {self.claim.says} {self.verdict} ({numbers})"


class Answer(NamedTuple):
    """What a study has come to."""

    sentence: str
    findings: list[Finding]


def answer(table: Table, study: Study) -> Answer:
    """Test every claim; differences are paired by seed (or fold), and corrected for the number of claims."""
    axis = table.replicates[-1] if table.replicates else SEED
    pairs = [[_values(table, claim, place, axis) for place in (claim.more, claim.less)] for claim in study.claims]
    found = [difference(more, less, axis) for more, less in pairs]
    beyond = [
        difference({seed: figure - claim.by for seed, figure in more.items()}, less, axis)
        for claim, (more, less) in zip(study.claims, pairs, strict=True)
    ]
    corrected = iter(holm([one.p for one in beyond if one is not None]))
    findings = [
        Finding(claim, one, 1.0 if one is None else next(corrected))
        for claim, one in zip(study.claims, found, strict=True)
    ]
    sentence = "; ".join(map(str, findings))
    return Answer(f"{sentence[:1].upper()}{sentence[1:]}.", findings)


def _values(table: Table, claim: Claim, place: Mapping[str, Any], axis: str) -> dict[Any, float]:
    """Seed -> the metric of the jobs at a place, a mean over what the claim does not name."""
    rows = [row for row in table.rows if all(row.swept.get(key) == value for key, value in place.items())]
    return Group({}, rows, {}).values(claim.metric, axis)
