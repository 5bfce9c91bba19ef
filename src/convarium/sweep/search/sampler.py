"""Which point comes next: Optuna's samplers, asked with all that is known. No torch here, but what the GP imports.

Private name of Optuna's: `_get_generation_key` of its genetic samplers, for trials of before this process.
"""

import hashlib
import random
import statistics
import warnings
from collections.abc import Sequence
from typing import Any

from convarium.results.search import Space, Trial, new_study
from convarium.sweep.search.space import every_point, number_of_points, rounded

MOST_FOR_GP = 100  # trials; above that a GP takes seconds for a point, and TPE does as well
ATTEMPTS = 3  # to be given a point that is new; then one is drawn
MOST_LISTED = 100_000  # points of a space
FEWEST_FOR_PRIOR = 5  # trials of before, for CMA-ES to begin where they were good
SHARE_OF_GENERATION = 5  # trials for one of a generation of NSGA-II


def choose_sampler(name: str, trials: int, objectives: int) -> str:
    """Which sampler `auto` is."""
    if name != "auto":
        return name
    return "nsga2" if objectives > 1 else "gp" if trials <= MOST_FOR_GP else "tpe"


class Sampler:
    """Chooses points one after the other. The same history, seed and number give the same point.

    modes: min or max for each objective. trials: how many there will be.
    """

    def __init__(self, name: str, space: Space, modes: Sequence[str], *, seed: int, trials: int) -> None:
        self.name, self.space, self.modes, self.seed = name, space, modes, seed
        self.generation = min(50, max(8, trials // SHARE_OF_GENERATION))
        self._states: dict[int, dict[str, Any]] = {}  # what CMA-ES and NSGA-II keep with the trials of this process

    def next(self, trials: Sequence[Trial]) -> dict[str, Any] | None:
        """A point that no trial has; None if there is none. Raises ConfigError for what this sampler cannot do."""
        taken = [trial.params for trial in trials]
        if self.name == "grid":
            return next((point for point in every_point(self.space) if point not in taken), None)
        for attempt in range(ATTEMPTS):
            point = self._ask(trials, attempt, self.name)
            if point not in taken:
                return point
        if number_of_points(self.space) > MOST_LISTED:  # so many that a random one is new
            return self._ask(trials, ATTEMPTS, "random")
        self._states.pop(len(trials), None)
        left = [point for point in every_point(self.space) if point not in taken]
        return random.Random(self._seed(len(trials), ATTEMPTS)).choice(left) if left else None

    def _seed(self, number: int, attempt: int) -> int:
        text = f"{self.seed} {number} {attempt}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")

    def _ask(self, trials: Sequence[Trial], attempt: int, name: str) -> dict[str, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that some of what we use may change one day
            study, distributions = new_study(self.space, self.modes)
            history = self._history(trials, distributions)
            study.add_trials(history)
            study.sampler = self._sampler(name, history, self._seed(len(trials), attempt))
            trial = study.ask(distributions)
        self._states[len(trials)] = dict(study.get_trials(deepcopy=False)[-1].system_attrs)
        return rounded(trial.params, self.space)

    def _history(self, trials: Sequence[Trial], distributions: dict[str, Any]) -> list[Any]:
        """The trials in Optuna's words, at their numbers.

        A pruned one counts with the best that it reached. One that diverged, or found no memory, counts as the worst of
        those that are well, so that the sampler learns to stay away; one that failed otherwise says nothing of its
        point, and neither does one of before that lies outside of the space.
        """
        from optuna.samplers import NSGAIISampler
        from optuna.trial import TrialState, create_trial

        well = [trial.values for trial in trials if trial.status == "ok" and trial.values is not None]
        columns = zip(*well, strict=True)
        worst = [max(c) if mode == "min" else min(c) for mode, c in zip(self.modes, columns, strict=False)] or None
        limit = _limit([values[0] for values in well], self.modes[0]) if self.name == "gp" and len(well) > 1 else None
        history = []
        for number, trial in enumerate(trials):
            values = worst if trial.status in ("diverged", "oom") else trial.values
            if limit is not None and values is not None and len(values) == 1:
                values = [min(values[0], limit) if self.modes[0] == "min" else max(values[0], limit)]
            state = TrialState.COMPLETE if values is not None else TrialState.FAIL
            if trial.status == "running":
                state, values = TrialState.RUNNING, None
            elif trial.status not in ("ok", "pruned", "diverged", "oom"):
                state, values = TrialState.FAIL, None
            before = {NSGAIISampler._get_generation_key(): number // self.generation} if self.name == "nsga2" else {}
            attributes = self._states.get(number, before)
            known: dict[str, Any] = {"params": trial.params, "distributions": distributions}
            try:
                made = create_trial(state=state, values=values, system_attrs=attributes, **known)
            except ValueError:
                made = create_trial(state=TrialState.FAIL)
            history.append(made)
        return history

    def _sampler(self, name: str, history: Sequence[Any], seed: int) -> Any:
        from optuna import samplers
        from optuna.trial import TrialState

        if name == "gp":
            import torch

            torch.set_num_threads(1)  # its matrices are small, and the cores are those of the jobs
            return samplers.GPSampler(seed=seed)
        if name == "cmaes":
            done = [each for number, each in enumerate(history) if number not in self._states]
            done = [each for each in done if each.state == TrialState.COMPLETE]  # of before this process
            before: dict[str, Any] = {"source_trials": done} if len(done) >= FEWEST_FOR_PRIOR else {}
            return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False, **before)
        if name == "nsga2":
            return samplers.NSGAIISampler(seed=seed, population_size=self.generation)
        return {"tpe": samplers.TPESampler, "random": samplers.RandomSampler}[name](seed=seed)


def _limit(values: Sequence[float], mode: str) -> float:
    """Where a GP takes one value to be as bad as any worse one: as far behind the median as the best is before it.

    A loss that has exploded would else be all that its smooth function sees.
    """
    best, middle = (min if mode == "min" else max)(values), statistics.median(values)
    return 2 * middle - best
