"""`convarium sweep resume DIR`. No torch here."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convarium.config.compose import Conf
from convarium.config.keys import check_values
from convarium.config.overrides import readable
from convarium.errors import ConfigError, RunError
from convarium.progress_bar import doing
from convarium.results.directory import SweepDirectory
from convarium.sweep.plan import check_same_base
from convarium.sweep.run import run_sweep
from convarium.sweep.search.source import Question, Search, frozen
from convarium.sweep.sites import site_of


def resume(path: Path, overrides: Sequence[str]) -> int:
    """Go on with a sweep from what is frozen in its directory, wherever its command was given; the exit code.

    overrides: other answers under `sweep`, and for a search under `search`. Raises ConfigError for any other, RunError
    if there is no sweep.
    """
    sweep = SweepDirectory.open(path)
    description = sweep.description()
    stored = description.get("settings")
    if not isinstance(stored, dict):
        raise RunError(f"{sweep.description_file}: not the description of a sweep")
    words, searched = readable(overrides), description.get("search")
    groups = ("sweep.", "search.") if searched else ("sweep.",)
    for word in words:
        key = word.partition("=")[0]
        if not key.startswith(groups) or key == "sweep.name":
            accepted = f"only {' or '.join(f'{group}KEY=VALUE' for group in groups)} may be given, and no other name"
            raise ConfigError(f"{word}: a sweep goes on as it was; {accepted}")
    given = Conf().compose(words).config
    settings = _changed(stored, given["sweep"], words, "sweep")
    known = list(sweep.known().values())
    if not known:
        raise RunError(f"{path}: holds no jobs yet; give its command again")
    command = description.get("command") or []
    if searched:
        conf = Conf(sweep.run(known[0].name).config().get("config_dir"))
        question = Question(**{name: searched[name] for name in Question._fields})
        question = question._replace(settings=_changed(question.settings, given["search"], words, "search"))
        with doing("compose the jobs"):
            search = Search(sweep, conf, question)
            check_same_base(sweep, conf, question.plan, question.hydra)
        with site_of(None, settings["isolation"]) as site:
            return run_sweep(sweep, [], description["axes"], settings, site, command=command, search=search)
    slurm = (description.get("site") or {}).get("slurm")
    gone = [job for job in known if not sweep.run(job.folder).config_file.is_file()]
    with site_of(slurm, settings["isolation"]) as site:
        jobs = [frozen(sweep, job) for job in known if job not in gone]
        code = run_sweep(
            sweep, jobs, description["axes"], settings, site, command=command, study=description.get("study")
        )
    for job in gone:
        print(f"  left out: {job.name} has no folder any more; the sweep's command makes it anew", file=sys.stderr)
    return code or int(bool(gone))


def _changed(stored: dict[str, Any], given: dict[str, Any], words: Sequence[str], group: str) -> dict[str, Any]:
    """The answers of a group as stored, but for those that the words give. Raises ConfigError for a wrong one."""
    changed = {word.partition("=")[0].removeprefix(f"{group}.") for word in words if word.startswith(f"{group}.")}
    settings = {key: given[key] if key in changed else stored.get(key, value) for key, value in given.items()}
    check_values({group: settings})
    return settings
