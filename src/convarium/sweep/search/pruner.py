"""Which job is not worth going on: Optuna's pruners, fed from the metrics.csv of the jobs. No torch here."""

import csv
import io
import math
import os
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from convarium.config.keys import leaves
from convarium.files import read_regular
from convarium.learn.lengths import TrainingLength, parse_length
from convarium.results.search import new_study
from convarium.run.directory import RunDirectory

REDUCTION = 3  # ASHA and Hyperband: one job in so many goes on
FEWEST = 5  # of the median: jobs that have ended before it prunes any


class Pruner:
    """Sees how the jobs come on, each epoch once, and says which should end.

    name: asha, median or hyperband. metric: a column of metrics.csv. mode: min or max. floor: epochs past the warm-up
    in which no job is pruned. config: that of one of the jobs.
    """

    def __init__(self, name: str, metric: str, mode: str, *, floor: int, config: Mapping[str, Any]) -> None:
        from optuna import pruners

        self.metric, self.floor = metric, floor
        first, longest = self._floor_of(config, {}), _longest(config)
        if name == "asha":
            pruner: Any = pruners.SuccessiveHalvingPruner(first, REDUCTION)
        elif name == "median":
            pruner = pruners.MedianPruner(n_startup_trials=FEWEST)
        else:
            pruner = pruners.HyperbandPruner(first, max(longest, first), REDUCTION)
        self._study, _ = new_study({}, [mode], pruner=pruner, study_name="search")  # brackets are drawn by its name
        self._trials: dict[str, Any] = {}
        self._seen: dict[str, tuple[int, int]] = {}  # job -> stamp and size of its metrics.csv
        self._epochs: dict[str, int] = {}  # that were reported last

    def prunes(self, job: str, run: RunDirectory, config: Mapping[str, Any]) -> bool:
        """Take in what a job has newly written; whether it should end. Never before the floor or in its last epoch."""
        try:
            state = os.stat(run.metrics_file)
        except OSError:
            return False
        if self._seen.get(job) == (stamp := (state.st_mtime_ns, state.st_size)):
            return False
        self._seen[job] = stamp
        floor, ends = self._floor_of(config, run.written_result()), False
        for epochs, value in epoch_values(run, self.metric):
            if epochs < floor or epochs <= self._epochs.get(job, 0):
                continue
            if job not in self._trials:
                self._trials[job] = self._study.ask()
            self._epochs[job] = epochs
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._trials[job].report(value, epochs)
                ends |= self._trials[job].should_prune()
        return ends and self._epochs[job] < _longest(config)

    def end(self, job: str, status: str, value: float | None) -> None:
        """A job has ended; only what one that is well was worth counts for the median."""
        from optuna.trial import TrialState

        trial = self._trials.pop(job, None)
        if trial is not None:
            well = status == "ok" and value is not None
            state = TrialState.COMPLETE if well else TrialState.PRUNED if status == "pruned" else TrialState.FAIL
            self._study.tell(trial, value if well else None, state=state)

    def _floor_of(self, config: Mapping[str, Any], result: Mapping[str, Any]) -> int:
        """The epochs of the warm-up, begun ones whole, and those of the floor."""
        warmup, total = parse_length(leaves(config).get("schedule.warmup") or 0), result.get("total_steps")
        steps = TrainingLength(int(total), max(1, int(total) // _longest(config))) if total else None
        if steps is not None:
            return math.ceil(warmup.steps(steps) / steps.steps_per_epoch) + self.floor
        share = {"epochs": warmup.amount, "%": warmup.amount / 100 * _longest(config), "steps": 0}
        return math.ceil(share[warmup.unit]) + self.floor


def _longest(config: Mapping[str, Any]) -> int:
    return max(1, int(config["trainer"]["max_epochs"] or 1))


def epoch_values(run: RunDirectory, metric: str) -> Iterator[tuple[int, float]]:
    """The epochs done and the value of a metric then, by metrics.csv; what is no finite number is left out."""
    try:
        text = read_regular(run.metrics_file).decode(errors="replace")
    except OSError:
        return
    for row in csv.DictReader(io.StringIO(text)):
        try:
            epochs, value = int(float(row["epoch"])) + 1, float(row[metric])
        except (KeyError, TypeError, ValueError):
            continue
        if math.isfinite(value):
            yield epochs, value
