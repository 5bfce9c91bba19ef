"""`convarium sweep resume DIR`. No torch here."""

import sys
from collections.abc import Sequence
from pathlib import Path

from convarium.config.compose import Conf
from convarium.config.keys import check_values
from convarium.config.overrides import readable
from convarium.errors import ConfigError, RunError
from convarium.results.directory import Known, SweepDirectory
from convarium.run.resume import check_outward, read_config, read_overrides
from convarium.sweep.plan import Job
from convarium.sweep.run import run_sweep
from convarium.sweep.sites import site_of


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
        if not key.startswith("sweep.") or key == "sweep.name":
            accepted = "only sweep.KEY=VALUE may be given, and no other name"
            raise ConfigError(f"{word}: a sweep goes on as it was; {accepted}")
    given = Conf().compose(words).config["sweep"]
    changed = {word.partition("=")[0].removeprefix("sweep.") for word in words}
    settings = {key: given[key] if key in changed else stored.get(key, value) for key, value in given.items()}
    check_values({"sweep": settings})
    known = list(sweep.known().values())
    if not known:
        raise RunError(f"{path}: holds no jobs yet; give its command again")
    slurm = (description.get("site") or {}).get("slurm")
    gone = [job for job in known if not sweep.run(job.name).config_file.is_file()]
    with site_of(slurm, settings["isolation"]) as site:
        jobs = [_frozen(sweep, job) for job in known if job not in gone]
        code = run_sweep(sweep, jobs, description["axes"], settings, site, command=description.get("command") or [])
    for job in gone:
        print(f"  left out: {job.name} has no folder any more; the sweep's command makes it anew", file=sys.stderr)
    return code or int(bool(gone))


def _frozen(sweep: SweepDirectory, known: Known) -> Job:
    """A job as its command asked for it: without what was decided for it then."""
    run = sweep.run(known.name)
    config, overrides = read_config(run), read_overrides(run)
    check_outward(run, config, ())
    if not any(word.startswith("threads=") for word in overrides):
        config["threads"] = None
    return Job(known.name, known.key, known.swept, known.words, overrides, config)
