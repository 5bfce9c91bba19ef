"""One sweep from its jobs to its table: check the jobs, freeze them, run them, print the table. No torch here."""

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

from convarium.config.keys import ONCE, has_part
from convarium.config.rules import directed
from convarium.config.study import read_study
from convarium.errors import ConfigError, RunError
from convarium.progress_bar import doing, draws
from convarium.report.run_page import is_outdated, leave_run_page
from convarium.report.sweep_page import leave_sweep_page
from convarium.results.directory import Known, SweepDirectory
from convarium.results.leaderboard import Leaderboard
from convarium.results.study import answer
from convarium.run.devices import Placement, Preflight
from convarium.run.directory import FINISHED, SUCCEEDED, RunDirectory, as_seen_from_here
from convarium.sweep.controller import Controller
from convarium.sweep.grid import shown
from convarium.sweep.local.pool import Pool, Share
from convarium.sweep.local.processes import Processes
from convarium.sweep.outcome import RESUMABLE, Ended, Lost
from convarium.sweep.outlook import Shown
from convarium.sweep.pictures import draw_pictures
from convarium.sweep.plan import AtPoint, Job, shapes_network, training_key
from convarium.sweep.search.source import Search
from convarium.sweep.sites import Site
from convarium.sweep.task import Task

SHOWN = 40  # failures on the screen
PREFLIGHT = 0  # the number of the process that checks the jobs; those of jobs begin at 1


def run_sweep(
    sweep: SweepDirectory,
    jobs: Sequence[Job],
    axes: Sequence[str],
    settings: dict[str, Any],
    site: Site,
    *,
    command: Sequence[str],
    doubles: int = 0,
    search: Search | None = None,
    study: dict[str, Any] | None = None,
) -> int:
    """Run those of the jobs that are not done; the exit code: 0 if all are well then, 1 if not, or 128 + a signal.

    settings: the answers under `sweep`. site: where they run. search: gives the jobs, in whose place there are none.
    study: what is asked, if it is a study.
    Raises ConfigError for a job that cannot run, before anything is made.
    """
    with ExitStack() as stack:
        if sweep.path.is_dir() and not settings["dry_run"]:
            stack.enter_context(sweep.locked())
        known = {job.key: job for job in sweep.known().values()}
        if search is not None:
            jobs = search.begin()
        jobs = [job._replace(name=known[job.key].name) if job.key in known else job for job in jobs]
        own = _runs(sweep, known.values(), {job.name for job in jobs})
        same = {job.name: known[job.key].same_as for job in jobs if job.key in known and known[job.key].same_as in own}
        states = {job.name: _status(sweep, same.get(job.name, job.name)) for job in jobs}
        if search is not None:
            states |= search.states()
        adopted = site.still_running(sweep)
        done = {*SUCCEEDED, "running", *(() if settings["retry_failed"] else FINISHED - RESUMABLE)}
        while True:
            todo = [job for job in jobs if job.name in adopted or states[job.name] not in done]
            todo = [job for job in todo if job.name not in same]
            more = search.left if search is not None else 0
            try:
                tasks, pool, share, found = plan_tasks(
                    sweep, todo, settings, site, adopted, more=more, own=own if search is None else None
                )
                break
            except ConfigError as error:
                if search is None or not search.another(error):
                    raise
                jobs, states = search.begin(), search.states()
        same |= found
        states |= {name: states.get(first) or _status(sweep, first) for name, first in found.items()}
        slots = min(pool.slots, len(tasks) + more)
        at_a_time = f"at a time  {slots}, each on {_devices(tasks, settings)}\n" if tasks else ""
        about = search.described() if search is not None else ""
        about += f"     asks  {study['question']}\n" if study else ""
        say(_header(sweep, states, same, doubles, settings, more) + about + at_a_time)
        if settings["dry_run"]:
            width = max((len(states[job.name]) for job in jobs), default=0)
            words = {one.name: shown(one.words) for one in known.values()} | {job.name: str(job) for job in jobs}
            notes = {name: f"  (the same network as {words[first]})" for name, first in same.items()}
            lines = [
                f"{number:>5}  {states[job.name]:{width}}  {job}{notes.get(job.name, '')}"
                for number, job in enumerate(jobs, 1)
            ]
            say("\n".join([*lines, "", "nothing was run: sweep.dry_run=true"]))
            return 0
        if not known:
            sweep.make()
            if not sweep.is_locked():
                stack.enter_context(sweep.locked())
            if sweep.known():
                raise RunError(f"{sweep.path}: another controller has begun it meanwhile; give the command again")
        keys = [axis.lstrip("+") for axis in axes]
        kept = {name: value for name, value in settings.items() if not has_part(f"sweep.{name}", ONCE)}
        rest: dict[str, Any] = {"search": search.description()} if search is not None else {}
        rest |= {"study": study} if study else {}
        twins = [(job, found[job.name]) for job in todo if job.name in found]
        rest |= {"settings": kept, "site": site.description, "command": list(command)}
        _freeze(sweep, tasks, twins, {one.name for one in known.values() if not one.same_as}, keys, **rest)
        if search is not None and tasks:
            search.go_on(tasks, share, settings, say)
        starter, write = site.starter(sweep, tasks, adopted), lambda: Leaderboard(sweep).write()
        with live_table() as show:
            calls: dict[str, Any] = {"say": say, "write_leaderboard": write, "write_page": leave_run_page, "show": show}
            stopped_by = Controller(sweep, tasks, starter, pool, settings, source=search, **calls).work()
        wanted = set(sweep.known()) if search is not None else {job.name for job in jobs}
        board = Leaderboard(sweep)
        try:
            board.write()
        except OSError as error:
            say(f"{sweep.leaderboard_csv}: cannot be written ({error.strerror})", sys.stderr)
        code = report(board, wanted, stopped_by)
        runs = [sweep.run(name) for name in sorted(wanted - same.keys())]
        if not stopped_by and (stopped_by := draw_pictures(runs, site.processes, log=os.devnull)):
            code = 128 + stopped_by
        _leave_pages(runs)
        if all(job.config.get("report", True) for job in jobs[:1]) and (page := leave_sweep_page(sweep)):
            say(f"  {page}")
        if study and not stopped_by:
            say(f"\n{study['question']}\n  {answer(board.table, read_study(study)).sentence}")
        return code if search is None or stopped_by else search.close(say)


def plan_tasks(
    sweep: SweepDirectory,
    jobs: Sequence[Job],
    settings: dict[str, Any],
    site: Site,
    adopted: Mapping[str, str],
    *,
    more: int = 0,
    own: Mapping[str, Known] | None = None,
) -> tuple[list[Task], Pool, Share, dict[str, str]]:
    """A task for each job that is to run, the devices for all of them, what one more job takes, and for each job that
    is the same training as another that one, which is run in its place.

    more: jobs that will come later, and need what the first does. own: earlier jobs that may stand for new ones; None:
    each job is run itself. Raises ConfigError for a job that cannot run.
    """
    wants = own is not None and any(shapes_network(axis) for job in jobs for axis in job.swept)
    asked = {"elsewhere": site.is_elsewhere, "fingerprints": wants}
    with doing("check the jobs"):
        preflights, gpus = preflight_jobs(jobs, site.processes, **asked) if jobs else ([], 0)
    same = _same(jobs, preflights, own or {})
    preflights = [preflight for job, preflight in zip(jobs, preflights, strict=True) if job.name not in same]
    jobs = [job for job in jobs if job.name not in same]
    threads = [_threads(sweep, job) for job in jobs]
    placements = [preflight.placement for preflight in preflights]
    pool, shares = site.share_out(
        [*placements, *placements[:1] * more], [*threads, *threads[:1] * more], settings, gpus
    )
    tasks = []
    for number, (job, preflight, share, fixed) in enumerate(zip(jobs, preflights, shares, threads, strict=False), 1):
        place = {"elsewhere": site.is_elsewhere, "adopted": job.name in adopted}
        tasks.append(Task.planned(sweep, number, job, share, preflight, settings, fixed, **place))
    return tasks, pool, shares[-1] if shares else Share(0, 1, 1), same


def _same(jobs: Sequence[Job], preflights: Sequence[Preflight], own: Mapping[str, Known]) -> dict[str, str]:
    """New job -> an earlier one, or the first of them, that trains the same network in the same way."""
    first, same = {one.training: name for name, one in own.items() if one.training}, {}
    for job, preflight in zip(jobs, preflights, strict=True):
        training = training_key(job, preflight.network)
        if training and job.name not in own and first.setdefault(training, job.name) != job.name:
            same[job.name] = first[training]
    return same


def _runs(sweep: SweepDirectory, known: Iterable[Known], wanted: Container[str]) -> dict[str, Known]:
    """The known jobs by name that are run themselves, and either belong to the command or have succeeded."""
    own = (one for one in known if not one.same_as)
    return {one.name: one for one in own if one.name in wanted or _status(sweep, one.name) in SUCCEEDED}


def _status(sweep: SweepDirectory, name: str) -> str:
    return sweep.run(name).result().get("status") or "queued"


def _threads(sweep: SweepDirectory, job: Job) -> int | None:
    """Those asked for; else those the job began with, for its result depends on them in its last bits."""
    asked: int | None = job.config["threads"]
    run = sweep.run(job.name)
    if asked is None and run.result_file.is_file() and run.config_file.is_file():
        return int(run.config()["threads"])
    return asked


def preflight_jobs(
    jobs: Sequence[Job], processes: Processes, *, elsewhere: bool, fingerprints: bool = False
) -> tuple[list[Preflight], int]:
    """The `Preflight` of each job, by a process that imports torch, and the number of GPUs here.

    elsewhere: the jobs will run on other machines. fingerprints: of their networks are wanted too. Raises ConfigError
    for the first job that cannot run.
    """
    with tempfile.TemporaryDirectory(prefix="convarium-") as folder:
        asked, answer, log = (Path(folder, name) for name in ("asked.json", "answer.json", "log"))
        question = {"configs": [job.config for job in jobs], "elsewhere": elsewhere, "fingerprints": fingerprints}
        asked.write_text(json.dumps(question), encoding="utf-8")
        processes.start(PREFLIGHT, "preflight", [str(asked), str(answer)], log=str(log), env={})
        ended = None
        while ended is None:
            ended = next((event for event in processes.poll(1.0) if isinstance(event, Ended | Lost)), None)
        if isinstance(ended, Lost) or ended.code or not answer.exists():
            tail = log.read_text(errors="replace") if log.exists() else ""
            sys.stderr.write(tail)
            why = (tail.strip().splitlines() or ["its process was ended"])[-1]
            raise RunError(f"the check of the jobs failed: {why}")
        answered = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in answered:
        number = answered["job"]
        raise AtPoint(ConfigError(answered["error"]), number + 1, len(jobs), jobs[number].words)
    return [Preflight(Placement(*at), *costs) for at, *costs in answered["preflights"]], answered["gpus"]


def _freeze(
    sweep: SweepDirectory,
    tasks: Sequence[Task],
    twins: Sequence[tuple[Job, str]],
    known: Container[str],
    axes: list[str],
    **rest: Any,
) -> None:
    """Write to the disk all that the jobs and a continuation need. twins: with the jobs that are run in their place."""
    entries = [task.freeze(sweep, is_new=task.job.name not in known) for task in tasks if not task.adopted]
    entries += [sweep.entry(job.name, "queued", **job.told, same_as=first) for job, first in twins]
    config: dict[str, Any] = tasks[0].job.config if tasks else {"callbacks": {}}
    watched = directed(config["callbacks"].get("checkpoint") or {}, config, "callbacks.checkpoint")
    before = sweep.description()
    chosen_by = {name: watched.get(name, before.get(name)) for name in ("monitor", "mode")}
    if "search" in rest and "/" in (objective := rest["search"]["objective"][0]):
        chosen_by = {"monitor": objective, "mode": rest["search"]["mode"][0]}
    sweep.describe(axes=axes, **chosen_by, **rest)
    sweep.append(entries)  # last of all: what it names is there


def _leave_pages(runs: Sequence[RunDirectory]) -> None:
    """Write the page of each run that has ended since it had one."""
    outdated = [run for run in runs if is_outdated(run)]
    with doing("write the pages of the jobs"):
        for run in outdated:
            if run.result().get("status") not in ("queued", "running"):
                leave_run_page(run)


@contextmanager
def live_table() -> Iterator[Callable[[Shown], None] | None]:
    """Where to show how far the jobs are, on a terminal; None elsewhere."""
    if not draws(sys.stdout):
        yield None
        return
    from convarium.sweep.live_table import LiveTable  # which imports rich

    table = LiveTable()

    def show(now: Shown) -> None:
        with suppress(OSError):
            table.show(now)

    try:
        yield show
    finally:
        with suppress(OSError):
            table.close()


def report(board: Leaderboard, wanted: set[str], stopped_by: int) -> int:
    """Print the table, and below it what did not end well; the exit code."""
    say(board.on_screen())
    rows = [row for row in board.rows if row.job in wanted]
    succeeded = sum(row.status in SUCCEEDED for row in rows)
    failures = [row for row in board.failures if row.job in wanted]
    say(f"\nsweep: {succeeded} of {len(rows)} jobs ended well\n  {board.sweep.leaderboard_csv}")
    lines = [f"  running  {row.job}: by another process" for row in rows if row.status == "running"]
    for row in failures[:SHOWN]:
        log = shlex.quote(f"{row.path}/train.log")
        lines += [f"  {row.status:<11}  {row.job}  {row.error or ''}", f"{'':15}less {log}"]
    if len(failures) > SHOWN:
        lines.append(f"  ... and {len(failures) - SHOWN} more in leaderboard.md")
    command = f"convarium sweep resume {as_seen_from_here(board.sweep.path)}"
    if any(row.status in ("queued", *RESUMABLE) for row in rows):
        lines.append(f"  go on: the same command, or: {command}")
    elif failures:
        lines.append(f"  run them again: {command} sweep.retry_failed=true")
    if lines:
        say("\n".join(lines), sys.stderr)
    if stopped_by:
        return 128 + stopped_by
    return 0 if succeeded == len(rows) else 1


def say(text: str, stream: TextIO | None = None) -> None:
    """Print a message; a terminal that is gone is no reason to end."""
    with suppress(OSError):
        print(text, file=stream or sys.stdout, flush=True)


def _header(
    sweep: SweepDirectory,
    states: dict[str, str],
    same: Container[str],
    doubles: int,
    settings: dict[str, Any],
    to_come: int,
) -> str:
    """How many jobs there are to do; printed before the first."""
    total = len(states) + to_come
    states = {name: status for name, status in states.items() if name not in same}
    kinds = {"new": {"queued"}, "to go on with": RESUMABLE, "done": SUCCEEDED, "at work": {"running"}}
    counts = {name: sum(status in kind for status in states.values()) for name, kind in kinds.items()}
    again = "to run again" if settings["retry_failed"] else "failed (sweep.retry_failed=true runs them again)"
    counts[again] = len(states) - sum(counts.values())
    counts["new"] += to_come
    counts["the same network as another job"] = total - to_come - len(states)
    text = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    more = f" ({doubles} more of the points asked for are the same jobs)" if doubles else ""
    return f"    sweep  {sweep.path}\n     jobs  {total}: {text}{more}\n"


def _devices(tasks: Sequence[Task], settings: dict[str, Any]) -> str:
    if tasks[0].share.part:
        return f"{settings['devices_per_job']} of a GPU"
    placements = sorted({task.preflight.placement for task in tasks})
    devices = " or ".join(f"{at.ranks} x {at.accelerator}" for at in placements)
    threads = sorted({task.job.config["threads"] for task in tasks})
    return f"{devices} with {' or '.join(map(str, threads))} thread{'s' if threads != [1] else ''}"
