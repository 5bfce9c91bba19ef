"""One sweep from its jobs to its table: check them, freeze them, run them, and say what became of them. No torch."""

import json
import os
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, TextIO

from convarium.errors import ConfigError, RunError
from convarium.run.devices import Placement
from convarium.run.directory import as_seen_from_here
from convarium.sweep.controller import Controller, Settings, Task
from convarium.sweep.directory import SweepDirectory
from convarium.sweep.events import Ended, Lost
from convarium.sweep.leaderboard import Leaderboard
from convarium.sweep.local.pool import Pool
from convarium.sweep.local.processes import Processes
from convarium.sweep.outcome import GOOD, TO_GO_ON
from convarium.sweep.plan import AtPoint, Job
from convarium.sweep.sites import Site

SHOWN = 40  # rows of a table on the screen
ONCE = ("dry_run", "retry_failed")  # settings of one command
CHECK = 0  # the number of the process that checks; those of jobs begin at 1


def conduct(
    sweep: SweepDirectory,
    jobs: Sequence[Job],
    axes: Sequence[str],
    settings: dict[str, Any],
    site: Site,
    *,
    command: Sequence[str],
    doubles: int = 0,
) -> int:
    """Run those of the jobs that are not done; the exit code: 0 if all are well then, 1 if not, or 128 + a signal.

    settings: the answers under `sweep`. site: where they run. Raises ConfigError for a job that cannot run, before
    anything is made.
    """
    with ExitStack() as stack:
        if sweep.path.is_dir() and not settings["dry_run"]:
            stack.enter_context(sweep.locked())
        before = sweep.known()
        known = {job.key: job for job in before.values()}
        jobs = [job._replace(name=known[job.key].name) if job.key in known else job for job in jobs]
        states = {job.name: sweep.run(job.name).result().get("status") or "queued" for job in jobs}
        adopted = site.still_at_work(sweep)
        todo = [
            job
            for job in jobs
            if job.name in adopted or is_to_run(states[job.name], retry_failed=settings["retry_failed"])
        ]
        tasks, pool = plan_tasks(sweep, todo, settings, site, adopted)
        tell(_header(sweep, states, tasks, pool, doubles, settings))
        if settings["dry_run"]:
            tell(_dry(jobs, states))
            return 0
        if not before:
            sweep.make()
            if not sweep.is_locked():
                stack.enter_context(sweep.locked())
            if sweep.known():
                raise RunError(f"{sweep.path}: another controller has begun it meanwhile; give the command again")
        _freeze(sweep, tasks, known, axes, settings, site, command)
        controller = Controller(
            sweep,
            tasks,
            site.starter(sweep, tasks),
            pool,
            Settings(settings["on_error"], settings["retries"], settings["timeout"]),
            say=tell,
            written=lambda: Leaderboard(sweep).write(),
        )
        stopped_by = controller.work()
        board = Leaderboard(sweep)
        try:
            board.write()
        except OSError as error:
            tell(f"{sweep.leaderboard_csv}: cannot be written ({error.strerror})", sys.stderr)
        return report(board, {job.name for job in jobs}, stopped_by)


def is_to_run(status: str, *, retry_failed: bool) -> bool:
    """Whether a job that ended so, or has not begun, is to be run."""
    if status in ("queued", *TO_GO_ON):
        return True
    return retry_failed and status not in (*GOOD, "running")


def plan_tasks(
    sweep: SweepDirectory, jobs: Sequence[Job], settings: dict[str, Any], site: Site, adopted: Mapping[str, str]
) -> tuple[list[Task], Pool]:
    """What is to be done, and the devices for it. Raises ConfigError."""
    found, gpus = check(jobs, site.processes, elsewhere=site.is_elsewhere) if jobs else ([], 0)
    placements = [Placement(*fields[:3]) for fields in found]
    threads = [_threads(sweep, job) for job in jobs]
    pool, shares = site.share_out(placements, threads, settings, gpus)
    tasks = []
    for number, (job, fields, share, fixed) in enumerate(zip(jobs, found, shares, threads, strict=True), 1):
        run = sweep.run(job.name)
        config = {
            **job.config,
            "run_dir": str(run.path),
            "sweep": settings,
            "threads": fixed or max(1, share.cores // fields[1]),
        }
        job = job._replace(config=config)
        tasks.append(Task(number, job, run, share, json.dumps(fields), adopted=job.name in adopted))
    return tasks, pool


def _threads(sweep: SweepDirectory, job: Job) -> int | None:
    """Those asked for; else those it began with, for the result depends on them in its last bits."""
    asked: int | None = job.config["threads"]
    run = sweep.run(job.name)
    if asked is None and run.result_file.is_file() and run.config_file.is_file():
        return int(run.config()["threads"])
    return asked


def check(jobs: Sequence[Job], processes: Processes, *, elsewhere: bool) -> tuple[list[list[Any]], int]:
    """What `convarium.sweep.local.check` finds out of each job, in a process of its own, and the number of GPUs here.

    elsewhere: they will run on other machines. Raises ConfigError for the first job that cannot run.
    """
    with tempfile.TemporaryDirectory(prefix="convarium-") as folder:
        asked, answer, log = (os.path.join(folder, name) for name in ("asked.json", "answer.json", "log"))
        question = {"configs": [job.config for job in jobs], "elsewhere": elsewhere}
        Path(asked).write_text(json.dumps(question), encoding="utf-8")
        processes.start(CHECK, "check", [asked, answer], log=log, env={})
        ended = None
        while ended is None:
            ended = next((event for event in processes.poll(1.0) if isinstance(event, Ended | Lost)), None)
        if isinstance(ended, Lost) or ended.code or not os.path.exists(answer):
            tail = Path(log).read_text(errors="replace") if os.path.exists(log) else ""
            sys.stderr.write(tail)
            raise RunError(f"the check of the jobs failed: {(tail.strip().splitlines() or ['no word of why'])[-1]}")
        said = json.loads(Path(answer).read_text(encoding="utf-8"))
    if "error" in said:
        number = said["job"]
        raise AtPoint(ConfigError(said["error"]), number + 1, len(jobs), jobs[number].words)
    return said["found"], said["gpus"]


def _freeze(
    sweep: SweepDirectory,
    tasks: Sequence[Task],
    known: dict[str, Any],
    axes: Sequence[str],
    settings: dict[str, Any],
    site: Site,
    command: Sequence[str],
) -> None:
    """Put on the disk all that a job and a continuation need."""
    entries: list[dict[str, Any]] = []
    for task in tasks:
        if task.adopted:
            continue
        task.run.path.mkdir(parents=True, exist_ok=True)
        task.run.save_config(task.job.config, task.job.overrides)
        entry = sweep.entry(task.job.name, "queued")
        if task.job.key not in known:
            entry |= {"key": task.job.key, "swept": task.job.swept, "words": task.job.words}
        entries.append(entry)
    watched = next((task.job.config["callbacks"].get("checkpoint") or {} for task in tasks), {})
    before = sweep.description()
    sweep.describe(
        axes=[axis.lstrip("+") for axis in axes],
        monitor=watched.get("monitor", before.get("monitor")),
        mode=watched.get("mode", before.get("mode")),
        settings={name: value for name, value in settings.items() if name not in ONCE},
        site=site.description,
        command=list(command),
    )
    sweep.append(entries)  # last of all: what it names is there


def report(board: Leaderboard, wanted: set[str], stopped_by: int) -> int:
    """Print the table, and below it what did not end well; the exit code."""
    tell(board.as_text(SHOWN))
    rows = [row for row in board.rows if row.job in wanted]
    good = sum(row.status in GOOD for row in rows)
    failures = [row for row in board.failures if row.job in wanted]
    tell(f"\nsweep: {good} of {len(rows)} jobs ended well\n  {board.sweep.leaderboard_csv}")
    lines = [f"  running  {row.job}: by another process" for row in rows if row.status == "running"]
    for row in failures[:SHOWN]:
        lines += [
            f"  {row.status:<11}  {row.job}  {row.error or ''}",
            f"{'':15}less {shlex.quote(f'{row.path}/train.log')}",
        ]
    if len(failures) > SHOWN:
        lines.append(f"  ... and {len(failures) - SHOWN} more in leaderboard.md")
    command = f"convarium sweep resume {as_seen_from_here(board.sweep.path)}"
    if any(row.status in ("queued", *TO_GO_ON) for row in rows):
        lines.append(f"  go on: the same command, or: {command}")
    elif failures:
        lines.append(f"  run them again: {command} sweep.retry_failed=true")
    if lines:
        tell("\n".join(lines), sys.stderr)
    if stopped_by:
        return 128 + stopped_by
    return 0 if good == len(rows) else 1


def tell(text: str, stream: TextIO | None = None) -> None:
    """Print for a person; a terminal that is gone is no reason to end."""
    with suppress(OSError):
        print(text, file=stream or sys.stdout, flush=True)


def _header(
    sweep: SweepDirectory,
    states: dict[str, str],
    tasks: Sequence[Task],
    pool: Pool,
    doubles: int,
    settings: dict[str, Any],
) -> str:
    """What there is to do, and how, before the first job."""
    counts = {
        "new": sum(status == "queued" for status in states.values()),
        "to go on with": sum(status in TO_GO_ON for status in states.values()),
        "done": sum(status in GOOD for status in states.values()),
        "at work": sum(status == "running" for status in states.values()),
    }
    failed = len(states) - sum(counts.values())
    again = "to run again" if settings["retry_failed"] else "failed (sweep.retry_failed=true runs them again)"
    told = ", ".join(f"{count} {name}" for name, count in {**counts, again: failed}.items() if count)
    rows = {"sweep": str(sweep.path), "jobs": f"{len(states)}: {told}"}
    if doubles:
        rows["jobs"] += f" ({doubles} more of the points asked for are the same jobs)"
    if tasks:
        rows["at a time"] = f"{min(pool.slots, len(tasks))}, each on {_devices(tasks, settings)}"
    return "\n".join(f"{name:>9}  {value}" for name, value in rows.items()) + "\n"


def _devices(tasks: Sequence[Task], settings: dict[str, Any]) -> str:
    if tasks[0].share.part:
        return f"{settings['devices_per_job']} of a GPU"
    placements = sorted({Placement(*json.loads(task.found)[:3]) for task in tasks})
    devices = " or ".join(f"{at.ranks} x {at.accelerator}" for at in placements)
    threads = sorted({task.job.config["threads"] for task in tasks})
    return f"{devices} with {' or '.join(map(str, threads))} thread{'s' if threads != [1] else ''}"


def _dry(jobs: Sequence[Job], states: dict[str, str]) -> str:
    width = max(len(states[job.name]) for job in jobs)
    lines = [f"{number:>5}  {states[job.name]:{width}}  {job}" for number, job in enumerate(jobs, 1)]
    return "\n".join([*lines, "", "nothing was run: sweep.dry_run=true"])
