"""`convarium sweep resume|status DIR`. No torch here."""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from convarium.config.compose import Conf, readable
from convarium.config.keys import check_ranges
from convarium.errors import ConfigError, RunError
from convarium.run.resume import read_overrides
from convarium.sweep.directory import Known, SweepDirectory
from convarium.sweep.leaderboard import Leaderboard
from convarium.sweep.local.processes import supervised
from convarium.sweep.outcome import GOOD
from convarium.sweep.plan import Job
from convarium.sweep.run import conduct
from convarium.sweep.sites import ThisMachine
from convarium.sweep.slurm.site import cluster_of

PREFIX = "sweep."


def resume(path: Path, overrides: Sequence[str]) -> int:
    """Go on with a sweep from what is frozen in its directory, wherever its command was given; the exit code.

    overrides: other answers under `sweep`. Raises ConfigError for any other, RunError if there is no sweep.
    """
    sweep = SweepDirectory.open(path)
    description = sweep.description()
    stored = description.get("settings")
    if not isinstance(stored, dict):
        raise RunError(f"{sweep.description_file}: not the description of a sweep")
    words = readable(overrides)
    for word in words:
        key = word.partition("=")[0]
        if not key.startswith(PREFIX) or key == "sweep.name":
            raise ConfigError(
                f"{word}: a sweep goes on as it was; only sweep.KEY=VALUE may be given, and no other name"
            )
    given = Conf().compose(words).config["sweep"]
    changed = {word.partition("=")[0].removeprefix(PREFIX) for word in words}
    settings = {key: given[key] if key in changed else stored.get(key, value) for key, value in given.items()}
    check_ranges({"sweep": settings})
    known = list(sweep.known().values())
    if not known:
        raise RunError(f"{path}: holds no jobs yet; give its command again")
    slurm = (description.get("site") or {}).get("slurm")
    with supervised("spawn" if slurm else settings["isolation"]) as processes:
        jobs = [_frozen(sweep, job) for job in known if sweep.run(job.name).config_file.is_file()]
        site = cluster_of(processes, slurm) if slurm else ThisMachine(processes)
        code = conduct(sweep, jobs, description["axes"], settings, site, command=description.get("command") or [])
    for job in known:
        if not sweep.run(job.name).config_file.is_file():
            print(f"  left out: {job.name} has no folder any more; the sweep's command makes it anew", file=sys.stderr)
            code = code or 1
    return code


def _frozen(sweep: SweepDirectory, known: Known) -> Job:
    """A job as its command asked for it: without what was decided for it then."""
    run = sweep.run(known.name)
    config, overrides = run.config(), read_overrides(run)
    if not any(word.startswith("threads=") for word in overrides):
        config["threads"] = None
    return Job(known.name, known.key, known.swept, known.words, overrides, config)


def status(path: Path, *, as_json: bool) -> int:
    """Print where a sweep stands; 0 if it is done and all is well, else 1."""
    sweep = SweepDirectory.open(path)
    board = Leaderboard(sweep)
    counts = Counter(row.status for row in board.rows)
    done = all(row.status in GOOD for row in board.rows)
    if as_json:
        rows = [
            {"job": row.job, "swept": row.swept, "status": row.status, "error": row.error, **row.figures}
            for row in board.rows
        ]
        print(
            json.dumps(
                {"path": str(sweep.path), "at_work": sweep.is_locked(), "jobs": rows}, indent=2, ensure_ascii=False
            )
        )
        return 0 if done else 1
    print(f"{sweep.path}: {'at work' if sweep.is_locked() else 'nobody is at work'}")
    print(", ".join(f"{count} {name}" for name, count in counts.items()))
    for row in board.rows:
        if row.status == "running":
            result = sweep.run(row.job).result()
            print(f"  running  {row.job}  epoch {result.get('epochs', 0)}, step {result.get('steps', 0):,}")
    print(board.as_text())
    for row in board.failures:
        print(f"  {row.status:<11}  {row.job}  {row.error or ''}")
    return 0 if done else 1
