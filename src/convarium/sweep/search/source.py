"""A search as the source of a sweep's jobs: the next point when there is room, told how each ended. No torch here."""

import json
import shutil
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from convarium.config.compose import Conf
from convarium.errors import ConfigError
from convarium.files import write_atomically
from convarium.results.directory import Known, SweepDirectory
from convarium.results.search import Space, Told, Trial, importance, told, trials, values_of
from convarium.run.directory import FINISHED, SUCCEEDED
from convarium.run.resume import check_outward, read_config, read_overrides
from convarium.sweep.grid import Point
from convarium.sweep.local.pool import Share
from convarium.sweep.outcome import Outcome
from convarium.sweep.plan import Job, Plan, check_folder, job_at, job_key, job_name
from convarium.sweep.search.objective import check_method, objectives_of
from convarium.sweep.search.pruner import Pruner
from convarium.sweep.search.sampler import Sampler, choose_sampler
from convarium.sweep.search.space import described, words_of
from convarium.sweep.task import Task
from convarium.wording import counted, one_line

MANY = 24  # trials by which one can tell what mattered
MOST_REFUSED = 5  # points that cannot run before a search that has none that can is given up


class Question(NamedTuple):
    """What is searched: words of every job, axes, words of the jobs of each trial, and `search` of the config."""

    fixed: Point
    space: Space
    again: list[Point]
    settings: dict[str, Any]
    hydra: Point
    """The overrides of Hydra's own keys."""

    @property
    def axes(self) -> list[str]:
        """All that differs between the jobs."""
        return [*self.space, *(word.partition("=")[0] for word in self.again[0])]

    @property
    def plan(self) -> Plan:
        """What the base of the sweep is held against."""
        return Plan([], self.axes, self.fixed, [])


class Search:
    """Gives the jobs of a sweep, one after the other. Raises ConfigError if no point can be composed."""

    def __init__(self, sweep: SweepDirectory, conf: Conf, question: Question) -> None:
        self.sweep, self.conf, self.question = sweep, conf, question
        self.settings, self.each = question.settings, len(question.again)
        config = self._probe()
        self.sweep_settings: dict[str, Any] = config["sweep"]
        objectives = objectives_of(config)
        self.objectives, self.modes = [name for name, _ in objectives], [mode for _, mode in objectives]
        wanted, seed = self.settings["trials"], self.settings["seed"]
        self.method = choose_sampler(self.settings["sampler"], wanted, len(objectives))
        check_method(self.method, self.settings["pruner"], objectives, question.space, config)
        self.sampler = Sampler(self.method, question.space, self.modes, seed=seed, trials=wanted)
        self.pruner = None
        if (name := self.settings["pruner"]) != "none":
            floor = self.settings["floor"]
            self.pruner = Pruner(name, self.objectives[0], self.modes[0], floor=floor, config=config)
        self._known: dict[str, Known] = {}
        self._told: dict[str, Told] = {}
        self._refused: list[tuple[Job, str]] = []  # not yet in the manifest
        self._given, self._is_exhausted, self._first = 0, False, ""
        self._say: Callable[[str], None] = print

    def _probe(self) -> dict[str, Any]:
        """The config of a point that can be composed; the sampler's own come when their turn is."""
        sampler, wrong = Sampler("random", self.question.space, ["max"], seed=0, trials=1), dict[str, None]()
        for number in range(MOST_REFUSED):
            point = sampler.next([Trial({}, [], "failed", None)] * number)
            try:
                return self._job([*words_of(point or {}), *self.question.again[0]]).config
            except ConfigError as error:
                wrong[str(error)] = None
        more = f" (and {MOST_REFUSED - 1} more points that were drawn cannot run either)" if len(wrong) > 1 else ""
        raise ConfigError(f"{next(iter(wrong))}{more}")

    def _job(self, words: Point) -> Job:
        """Compose and check a point; raises ConfigError."""
        question = self.question
        job = job_at(self.conf, [*question.fixed, *words], question.axes, question.hydra)
        check_folder(job)
        return job

    # before the first job

    def begin(self) -> list[Job]:
        """The jobs of the manifest that have not succeeded, or the first one; nothing is written yet."""
        for known in self.sweep.known().values():
            self._known[known.name], self._told[known.name] = known, told(self.sweep, known, self.objectives)
            if self.pruner:
                self.pruner.prunes(known.name, self.sweep.run(known.name), self._config_of(known))
                self._end_of(known.name)
        jobs = []
        for known in (known for known in self._known.values() if self._is_open(known)):
            is_there = self.sweep.run(known.name).config_file.is_file()
            anew = None if is_there else self._job(known.words)._replace(name=known.name, key=known.key)
            jobs.append(anew or frozen(self.sweep, known))
        if not any(self._told[job.name].status not in FINISHED - {"interrupted"} for job in jobs) and self.left:
            first = self._next_job()
            if first is not None:
                self._given -= 1  # the controller counts it
                jobs, self._first = [*jobs, first], first.name
        return jobs

    def another(self, error: ConfigError) -> bool:
        """Whether another point may come first, as this one cannot run for that error."""
        if self._first not in self._known or len(self._refused) >= MOST_REFUSED - 1:
            return False
        known = self._known.pop(self._first)
        job = Job(known.name, known.key, known.swept, known.words, [], {})
        self._refuse(job, one_line(error))
        return True

    def _is_open(self, known: Known) -> bool:
        run, status = self.sweep.run(known.name), self._told[known.name].status
        return status not in SUCCEEDED and (run.config_file.is_file() or status not in FINISHED)

    def _config_of(self, known: Known) -> dict[str, Any]:
        run = self.sweep.run(known.name)
        return run.config() if run.config_file.is_file() else {"trainer": {"max_epochs": 1}}

    def states(self) -> dict[str, str]:
        """The status of every job that is known."""
        return {name: outcome.status for name, outcome in self._told.items()}

    def description(self) -> dict[str, Any]:
        """What sweep.yaml says of the search: enough to go on with it, and to show what was searched."""
        question = self.question._asdict()
        question["settings"] = {**self.settings, "sampler": self.method}
        return {**question, "objective": self.objectives, "mode": self.modes}

    def described(self) -> str:
        """What is searched, for a person; printed before the first job."""
        highest = {"min": "lowest", "max": "highest"}
        goal = " and the ".join(
            f"{highest[mode]} {name}" for name, mode in zip(self.objectives, self.modes, strict=True)
        )
        jobs = f" of {self.each} jobs each" if self.each > 1 else ""
        pruner = f", pruned by {self.settings['pruner']}" if self.pruner else ""
        lines = [f"{counted(self.settings['trials'], 'trial')}{jobs} by {self.method} for the {goal}{pruner}"]
        lines += described(self.question.space)
        heads = ["search", "over", *[""] * len(lines)]
        return "".join(f"{head:>10}  {line}\n" for head, line in zip(heads, lines, strict=False))

    def go_on(self, tasks: Sequence[Task], share: Share, settings: dict[str, Any], say: Callable[[str], None]) -> None:
        """Take over from the jobs at hand: later ones are like the first."""
        self._say, self._number = say, max(task.number for task in tasks)
        self._share, self._preflight, self._sweep_settings = share, tasks[0].preflight, settings
        for job, why in self._refused:
            self._record_refused(job, why)

    # as a source

    @property
    def left(self) -> int:
        """The jobs that may still come."""
        found = self._trials()
        missing = sum(self.each - len(trial.names) for trial in found if trial.status in ("running", "ok"))
        return 0 if self._is_exhausted else missing + max(0, self.settings["trials"] - len(found)) * self.each

    @property
    def total(self) -> int:
        return self._given + self.left

    def ask(self) -> Task | None:
        while self.left:
            job = self._next_job()
            if job is None:
                return None
            number = self._number = self._number + 1
            asked = job.config["threads"]
            task = Task.planned(
                self.sweep, number, job, self._share, self._preflight, self._sweep_settings, asked, is_checked=False
            )
            self.sweep.append([task.freeze(self.sweep, is_new=True)])
            return task
        return None

    def tell(self, task: Task, outcome: Outcome) -> None:
        values = values_of(task.run.written_result(), self.objectives)
        self._told[task.job.name] = Told(outcome.status, values)
        if self.pruner:
            self.pruner.prunes(task.job.name, task.run, task.job.config)
            self._end_of(task.job.name)

    def prunes(self, task: Task) -> bool:
        return self.pruner is not None and self.pruner.prunes(task.job.name, task.run, task.job.config)

    def _end_of(self, name: str) -> None:
        outcome = self._told[name]
        if self.pruner and outcome.status in FINISHED - {"interrupted"}:
            self.pruner.end(name, outcome.status, outcome.values[0] if outcome.values else None)

    def _trials(self) -> list[Trial]:
        return trials(
            ((known, self._told[name]) for name, known in self._known.items()), self.question.space, self.each
        )

    def _next_job(self) -> Job | None:
        """The next job that can be composed, counted as one of the known; None if there are no more points."""
        while self.left:
            words = self._next_words()
            if words is None:
                self._is_exhausted = True
                self._say(f"search: all points of the space are known, {len(self._trials())} of them; no more trials")
                return None
            try:
                job = self._job(words)
            except ConfigError as error:
                swept = {word.partition("=")[0]: word.partition("=")[2] for word in words}
                key = job_key({"fixed": self.question.fixed}, swept)
                self._refuse(Job(job_name(swept, key), key, swept, words, [], {}), one_line(error))
                continue
            self._known[job.name] = Known(job.name, job.key, job.swept, job.words, "queued", "")
            self._told[job.name] = Told("queued", None)
            self._given += 1
            return job
        return None

    def _next_words(self) -> Point | None:
        """The words of a job that a trial still lacks, else of the first job of a new trial."""
        found = self._trials()
        for trial in found:
            if trial.status in ("running", "ok") and len(trial.names) < self.each:
                has = [self._known[name].words for name in trial.names]
                return next(
                    [*words_of(trial.params), *words]
                    for words in self.question.again
                    if not any(set(words) <= set(each) for each in has)
                )
        point = self.sampler.next(found)
        return None if point is None else [*words_of(point), *self.question.again[0]]

    def _refuse(self, job: Job, why: str) -> None:
        """A point of which no job can be made is a trial that failed."""
        self._known[job.name] = Known(job.name, job.key, job.swept, job.words, "failed", "")
        self._told[job.name] = Told("failed", None)
        if hasattr(self, "_number"):
            self._record_refused(job, why)
        else:
            self._refused.append((job, why))

    def _record_refused(self, job: Job, why: str) -> None:
        run = self.sweep.run(job.name)
        shutil.rmtree(run.path, ignore_errors=True)
        run.path.mkdir(parents=True)
        write_atomically(run.result_file, json.dumps({"status": "failed", "error": why, "metrics": {}}))
        facts: dict[str, Any] = {"key": job.key, "swept": job.swept, "words": job.words, "error": why}
        self.sweep.append([self.sweep.entry(job.name, "failed", **facts)])
        self._say(f"no job     {job}  {why}")

    # after the last job

    def close(self, say: Callable[[str], None]) -> int:
        """Say what was found; the exit code: 1 if no trial ended well, or some are still to come."""
        found = self._trials()
        well = [trial for trial in found if trial.status == "ok" and trial.values is not None]
        if not well:
            return 1
        if len(self.objectives) == 1:
            best = (min if self.modes[0] == "min" else max)(well, key=lambda trial: (trial.values or [0.0])[0])
            point, value = " ".join(words_of(best.params)), (best.values or [0.0])[0]
            say(f"  best of {len(found)} trials: {self.objectives[0]} {value:.4f} with {point}")
        if shares := importance(self.sweep):
            little = f" (by {len(well)} trials: little to go by)" if len(well) < MANY else ""
            say(f"  what mattered: {', '.join(f'{axis} {share:.0%}' for axis, share in shares.items())}{little}")
        return int(bool(self.left) or any(trial.status == "running" for trial in found))


def frozen(sweep: SweepDirectory, known: Known) -> Job:
    """A job as its command asked for it: without what was decided for it then. Raises RunError without its config."""
    run = sweep.run(known.folder)
    config, overrides = read_config(run), read_overrides(run)
    check_outward(run, config, ())
    if not any(word.startswith("threads=") for word in overrides):
        config["threads"] = None
    return Job(known.name, known.key, known.swept, known.words, overrides, config)
