"""What is to be run: the jobs of a sweep, each composed and checked as far as it goes without torch."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from convarium.config.accepts import shown as written
from convarium.config.compose import Conf
from convarium.config.identity import config_hash, determines_result, slug, sweep_name
from convarium.config.keys import leaves
from convarium.config.study import read_study
from convarium.config.targets import PARTS
from convarium.errors import ConfigError
from convarium.results.directory import SweepDirectory
from convarium.run.prepare import adapt_to_weights
from convarium.sweep.grid import Point, off_axes, on_axes, points_of, shown, values

MOST_NAMED = 3  # changes of a base in a message
OF_NETWORK = frozenset({"arch", "parts", *PARTS, "dropout"})
"""The groups and keys that say which network is trained, and nothing else."""


class Job(NamedTuple):
    """One experiment of a sweep; the `key` is the same for the same job, whenever asked for."""

    name: str  # of its folder
    key: str  # 12 hexadecimal digits, over the config's hash and the swept keys
    swept: dict[str, Any]  # axis -> value
    words: Point  # the overrides that set the axes
    overrides: Point  # all of them
    config: dict[str, Any]

    @property
    def told(self) -> dict[str, Any]:
        """What the manifest has of it."""
        return {"key": self.key, "swept": self.swept, "words": self.words}

    def __str__(self) -> str:
        return shown(self.words)


class Plan(NamedTuple):
    """The jobs of one command, each once."""

    jobs: list[Job]
    axes: list[str]
    fixed: Point  # the overrides of every job
    keys: list[str]  # of the jobs, one for each point: two points may be the same job
    study: dict[str, Any] | None = None  # what is asked, if it is a study

    @property
    def doubles(self) -> int:
        """How many points are the same job as an earlier one."""
        return len(self.keys) - len(self.jobs)


class AtPoint(ConfigError):
    """What is wrong with one of many points, and which it is."""

    def __init__(self, error: Exception, number: int, points: int, words: Point) -> None:
        super().__init__(f"{error} (job {number} of {points}: {shown(words)})")


def plan(conf: Conf, points: Sequence[Point], axes: Sequence[str], hydra: Sequence[str] = ()) -> Plan:
    """Compose and check every point. Raises ConfigError for the first that is not right, saying which it is.

    hydra: the overrides of Hydra's own keys, which belong to all points.
    """
    if not points:
        raise ConfigError(f"{' '.join(axes)}: no values, and so no jobs")
    for axis in axes:
        key = axis.lstrip("+")
        if sum(word.partition("=")[0] == axis for word in points[0]) > 1:
            raise ConfigError(f"{axis}: stands there twice, and is swept; write all in one word, {key}=[a,b],[a,c]")
        if key.partition(".")[0] == "study":
            raise ConfigError(f"{key}: cannot be swept, a study is a sweep itself; run one after the other")
        if key.startswith("sweep."):
            raise ConfigError(f"{key}: cannot be swept, it is about the sweep")
    jobs, keys = dict[str, Job](), list[str]()
    for number, point in enumerate(points, 1):
        try:
            job = job_at(conf, point, axes, hydra)
        except ConfigError as error:
            raise AtPoint(error, number, len(points), on_axes(point, axes)) from error
        jobs.setdefault(job.key, job)
        keys.append(job.key)
    is_study = any(word.startswith("study=") for word in points[0])
    study = conf.compose([*hydra, *points[0]]).study if is_study else None
    return Plan(list(jobs.values()), list(axes), off_axes(points[0], axes), keys, study)


def job_at(conf: Conf, point: Point, axes: Sequence[str], hydra: Sequence[str] = ()) -> Job:
    """Compose and check one point; raises ConfigError."""
    words = on_axes(point, axes)
    config = adapt_to_weights(conf, conf.compose([*hydra, *point])).config
    if config["resume"] is not None:
        raise ConfigError(f"resume={config['resume']}: goes on with one run; without -m")
    got, asked = leaves(config), values(words)  # 1 of a float is 1.0 then; an answer of a group keeps its name
    swept = {axis: asked[axis] if axis in conf.groups else got.get(axis, asked[axis]) for axis in sorted(asked)}
    key = job_key(config, swept)
    return Job(job_name(swept, key), key, swept, words, list(point), config)


def shapes_network(key: str) -> bool:
    """Whether a dotted key says which network is trained, and nothing else."""
    return key.partition(".")[0] in OF_NETWORK


def training_key(job: Job, network: str) -> str:
    """What jobs have in common that train the same network in the same way, whatever words ask for it; network: its
    fingerprint. 12 hexadecimal digits, or "" without a fingerprint."""
    rest = {key: node for key, node in job.config.items() if not shapes_network(key)}
    swept = {axis: value for axis, value in job.swept.items() if not shapes_network(axis)}
    return job_key({**rest, "arch": network}, swept) if network else ""


def check_folder(job: Job) -> None:
    """Raise ConfigError for a job that is to lie outside of its sweep."""
    if (folder := job.config["run_dir"]) is not None:
        why = "the jobs of a sweep have their folders in its own; leave it out (sweep.name=NAME says where)"
        raise ConfigError(f"run_dir={folder}: {why}")


def job_key(config: dict[str, Any], swept: dict[str, Any]) -> str:
    """What makes a job this job and no other."""
    text = json.dumps([config_hash(config), swept], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def job_name(swept: dict[str, Any], key: str) -> str:
    """A folder's name that says what is special about a job."""
    parts = [
        value if isinstance(value, str) else f"{axis.rpartition('.')[2]}-{written(value).replace('e+', 'e')}"
        for axis, value in swept.items()
    ]
    return f"{slug('-'.join(parts) or 'job')}-{key}"


def default_name(conf: Conf, fixed: Sequence[str], axes: Sequence[str]) -> str:
    """The name by which the same command finds its sweep again; of a study as it stands its own name and size."""
    name = sweep_name(values(fixed), [axis.lstrip("+") for axis in axes], config_hash(conf.compose([]).config))
    is_study = any(word.startswith("study=") for word in fixed)
    if (node := conf.compose(fixed).study if is_study else None) is None:
        return name
    study = read_study(node)
    points, own = points_of(conf.loader, [f"{key}={value}" for key, value in study.sweep.items()])
    asked, said = (
        {key: value for key, value in values(words).items() if determines_result(key)}
        for words in (fixed, off_axes(points[0], own))
    )
    as_it_stands = sorted(axes) == sorted(own) and asked == said
    return f"{study.name}-{study.size}" + ("" if as_it_stands else name[name.rindex("-") :])


def check_same_base(sweep: SweepDirectory, conf: Conf, wanted: Plan, hydra: Sequence[str] = ()) -> None:
    """Refuse to go on with a sweep of other axes, or of another base: a column of its table would mean two things.

    Jobs that were known before are held against their frozen configs; if none is among those wanted, one of them is
    composed anew. Raises ConfigError, saying what changed.
    """
    description = sweep.description()
    if not description:
        return
    axes = sorted(axis.lstrip("+") for axis in wanted.axes)
    if axes != sorted(description["axes"]):
        then, now = ", ".join(description["axes"]) or "nothing", ", ".join(axes) or "nothing"
        raise ConfigError(f"sweep.name={sweep.name}: sweeps {then}, now {now}; choose another sweep.name")
    known = {_canonical(job.swept): job for job in sweep.known().values() if not job.same_as}
    both = [(job.config, known[_canonical(job.swept)]) for job in wanted.jobs if _canonical(job.swept) in known]
    if not both and known:
        one = next(iter(known.values()))
        both = [(conf.compose([*hydra, *wanted.fixed, *one.words]).config, one)]
    for config, job in both:
        run = sweep.run(job.name)
        changed = list(_changes(run.config(), config)) if run.config_file.is_file() else []
        if changed:
            more = f" and {len(changed) - MOST_NAMED} more" if len(changed) > MOST_NAMED else ""
            raise ConfigError(
                f"sweep.name={sweep.name}: its base has changed: {', '.join(changed[:MOST_NAMED])}{more}"
                f" (job {shown(job.words)}); choose another sweep.name"
            )


def _canonical(swept: dict[str, Any]) -> str:
    return json.dumps(swept, sort_keys=True, default=str)


def _changes(then: dict[str, Any], now: dict[str, Any]) -> Iterator[str]:
    """Every key that determines the result and has another value; null and absent are the same."""
    before, after = leaves(then), leaves(now)
    named = set()
    for key in sorted(dict.fromkeys([*before, *after]), key=lambda key: key.count(".")):
        change = f"{written(before.get(key))} -> {written(after.get(key))}"
        name = key.removeprefix("arch.").removeprefix("parts.")  # where a part's own keys are copied to
        if determines_result(key) and before.get(key) != after.get(key) and name not in named:
            named.add(name)
            yield f"{key} {change}"
