"""The jobs of a sweep through submitit, its local executor in the place of Slurm (which is in tests/slurm)."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import submitit

from convarium.errors import ConfigError, RunError
from convarium.results.directory import SweepDirectory
from convarium.run.devices import Placement, Preflight
from convarium.run.directory import RunDirectory
from convarium.sweep.local.pool import Share
from convarium.sweep.local.processes import Processes, import_path
from convarium.sweep.outcome import OUT_OF_MEMORY, Ended, Moved, Outcome
from convarium.sweep.plan import Job
from convarium.sweep.sites import ThisMachine
from convarium.sweep.slurm.options import Options, options_of
from convarium.sweep.slurm.queue import Slurm, State, call_of, check_reachable
from convarium.sweep.slurm.site import Cluster
from convarium.sweep.slurm.submitted import Submitted
from convarium.sweep.slurm.watch import ENDING
from convarium.sweep.task import Task
from sweeps import board, results, statuses, sweep, sweep_directory, weights

TRAIN = Path(__file__).resolve().parents[3] / "train.py"
DEFAULTS: dict[str, Any] = {
    "partition": None,
    "account": None,
    "qos": None,
    "constraint": None,
    "reservation": None,
    "exclude": None,
    "minutes": 60,
    "mem_gb": None,
    "cpus_per_device": 4,
    "gpu_type": None,
    "save_seconds": 90,
    "poll_seconds": 5.0,
}


class LocalExecutor:
    """Has what `Slurm` has, by processes of submitit's local executor."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._jobs: dict[str, Any] = {}

    def submit(self, tasks: Sequence[Task], at: Placement) -> list[str]:
        executor = submitit.LocalExecutor(folder=self._folder)
        with patch.dict(os.environ, PYTHONPATH=import_path()):
            jobs = {str(job.job_id): job for job in (executor.submit(call_of(task, at)) for task in tasks)}
        self._jobs |= jobs
        return list(jobs)

    def states(self, identities: Sequence[str]) -> dict[str, State]:
        return {identity: State("ended" if self._jobs[identity].done() else "running") for identity in identities}

    def signal(self, identities: Sequence[str], signum: int) -> None:
        for identity in identities:
            with suppress(ProcessLookupError):
                self._jobs[identity]._process.send_signal(signum)


class ThroughSubmitit(ThisMachine):
    """This machine, whose jobs go the way of those of a cluster."""

    def starter(self, sweep: SweepDirectory, tasks: Sequence[Task], adopted: Mapping[str, str]) -> Submitted:
        return Submitted(tasks, LocalExecutor(sweep.path / "slurm"), adopted, 0.2)  # type: ignore[arg-type]


def test_jobs_end_with_the_weights_and_statuses_of_any_sweep(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONVARIUM_TRUST", "misbehaving")
    words = ("norm=none", "norm._target_=misbehaving.Fine,misbehaving.IsKilled", "trainer.max_epochs=2")
    assert sweep(ThroughSubmitit(processes), *words) == 1
    assert statuses("norm._target_") == {"misbehaving.Fine": "ok", "misbehaving.IsKilled": "killed"}
    ended = {row["error"]: json.loads(Path(row["path"], ENDING.format(rank=0)).read_text()) for row in board()}
    assert ended == {"": {"code": 0, "oom": False}, "SIGKILL": {"code": -9, "oom": False}}
    assert {entry["slurm"] for entry in sweep_directory().entries() if entry["status"] == "running"}
    assert sweep(processes, *words, name="here") == 1
    assert len(results()) == 2
    assert list(weights().values()) == list(weights("here").values())
    assert len(weights()) == 1


@pytest.mark.slow
def test_a_job_that_is_the_same_network_as_another_is_not_submitted(processes: Processes) -> None:
    words = ("activation=paper,scaled_tanh", "seed=1,2")
    assert sweep(ThroughSubmitit(processes), *words) == 0
    assert sorted(row["same_as"] for row in board()) == ["", "", "activation=paper", "activation=paper"]
    assert {row["status"] for row in board()} == {"ok"}
    running = {entry["job"]: entry["slurm"] for entry in sweep_directory().entries() if entry["status"] == "running"}
    assert len(running) == len(results()) == 2


# what becomes of jobs that were submitted


class Queue:
    """Has what `Slurm` has: identities are 1, 2, ..., and a test says how each job is."""

    def __init__(self) -> None:
        self.submitted: list[tuple[int, Placement]] = []
        self.now: dict[str, State] = {}
        self.signals: list[tuple[str, int]] = []
        self.refuses = False

    def submit(self, tasks: Sequence[Task], at: Placement) -> list[str]:
        if self.refuses:
            raise RunError("sbatch: no such partition")
        first = len(self.submitted) + 1
        self.submitted += [(task.number, at) for task in tasks]
        identities = [str(number) for number in range(first, len(self.submitted) + 1)]
        self.now |= dict.fromkeys(identities, State("waiting"))
        return identities

    def states(self, identities: Sequence[str]) -> dict[str, State]:
        return {identity: self.now[identity] for identity in identities}

    def signal(self, identities: Sequence[str], signum: int) -> None:
        self.signals += [(identity, signum) for identity in identities]


def task(number: int, devices: int = 1) -> Task:
    job = Job(f"job-{number}", str(number), {}, [], [], {})
    run = RunDirectory(Path(job.name).absolute())
    (run.path / "ranks").mkdir(parents=True)
    return Task(number, job, run, Share(0, 1, 1), Preflight(Placement("cpu", devices, 1), 0, 0))


@pytest.fixture
def queue() -> Queue:
    return Queue()


def begin(queue: Queue, *tasks: Task, adopted: Mapping[str, str] | None = None) -> Submitted:
    """Start all tasks at once."""
    submitted = Submitted(tasks, queue, adopted or {}, 0.0)  # type: ignore[arg-type]
    for each in tasks:
        submitted.start(each.number, "run", [], log="", env={})
    return submitted


def test_jobs_that_need_the_same_devices_are_submitted_together(queue: Queue) -> None:
    begin(queue, task(1), task(2, devices=2), task(3)).poll(0)
    one, two = Placement("cpu", 1, 1), Placement("cpu", 2, 1)
    assert queue.submitted == [(1, one), (3, one), (2, two)]


def test_a_job_waits_runs_is_queued_again_and_ends(queue: Queue) -> None:
    submitted = begin(queue, task(1))
    assert submitted.poll(0) == [Moved(1, "queued", {"slurm": "1"})]
    events = []
    killed = State("ended", 0, Outcome("killed", "Slurm: NODE_FAIL"))
    for state in (State("running"), State("running"), State("unknown"), State("waiting"), State("running"), killed):
        queue.now["1"] = state
        events += submitted.poll(0)
    facts = {"slurm": "1"}
    assert events == [
        *(Moved(1, status, facts) for status in ("running", "queued", "running")),
        Ended(1, 0, killed.outcome),
    ]


def test_a_job_that_is_refused_has_failed_with_the_reason(queue: Queue) -> None:
    queue.refuses = True
    assert begin(queue, task(1)).poll(0) == [Ended(1, 1, Outcome("failed", "sbatch: no such partition"))]


def test_a_job_of_an_earlier_controller_is_not_submitted_again(queue: Queue) -> None:
    queue.now["77"] = State("running")
    submitted = begin(queue, task(1), adopted={"job-1": "77"})
    assert submitted.poll(0) == [Moved(1, "running", {"slurm": "77"})]
    assert queue.submitted == []


def test_one_that_runs_is_signalled_and_one_that_waits_leaves_the_queue(queue: Queue) -> None:
    submitted = begin(queue, task(1), task(2))
    submitted.poll(0)
    queue.now["1"] = State("running")
    for number in (1, 2):
        submitted.signal(number, signal.SIGTERM)
    submitted.poll(0)
    submitted.poll(0)  # once more, for Slurm refuses a signal now and then
    assert queue.signals == [("1", signal.SIGTERM), ("2", signal.SIGKILL)] * 2


def test_one_that_is_stopped_before_it_is_submitted_has_ended(queue: Queue) -> None:
    submitted = begin(queue, task(1))
    submitted.signal(1, signal.SIGTERM)
    assert submitted.poll(0) == [Ended(1, -signal.SIGTERM)]
    assert queue.submitted == []


@pytest.mark.parametrize(
    ("seen", "code", "outcome"),
    [({"code": -9, "oom": True}, -9, OUT_OF_MEMORY), ({"code": 3, "oom": False}, 3, None), (None, 1, None)],
)
def test_what_a_task_has_seen_is_more_exact_than_what_slurm_says(
    seen: dict[str, Any] | None, code: int, outcome: Outcome | None, queue: Queue
) -> None:
    submitted = begin(queue, one := task(1))
    submitted.poll(0)
    if seen:
        (one.run.path / ENDING.format(rank=0)).write_text(json.dumps(seen))
    queue.now["1"] = State("ended", 1)
    assert submitted.poll(0) == [Ended(1, code, outcome)]


# Slurm itself


def test_what_slurm_is_asked_for_a_job() -> None:
    options = options_of({**DEFAULTS, "partition": "short", "mem_gb": 1.5, "gpu_type": "a100", "reservation": "ours"})
    asked = options.of_job(Placement("cuda", 4, 1))
    assert (asked["nodes"], asked["ntasks_per_node"], asked["cpus_per_task"], asked["gres"]) == (1, 1, 16, "gpu:a100:4")
    assert (asked["time"], asked["signal_delay_s"], asked["partition"], asked["mem"]) == (60, 90, "short", "1536MB")
    assert asked["additional_parameters"] == {"requeue": True, "reservation": "ours"}
    assert "account" not in asked


def test_on_several_machines_each_rank_is_a_task() -> None:
    asked = options_of(DEFAULTS).of_job(Placement("cuda", 8, 2))
    assert (asked["nodes"], asked["ntasks_per_node"], asked["cpus_per_task"], asked["gpus_per_node"]) == (2, 8, 4, 8)
    assert "--kill-on-bad-exit=1" in asked["srun_args"]
    assert "gpus_per_node" not in options_of(DEFAULTS).of_job(Placement("cpu", 8, 2))


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("minutes", 0, "hydra.launcher.minutes=0: expected a number above 0"),
        ("mem_gb", "64", "hydra.launcher.mem_gb=64: expected a number above 0"),
        ("partition", "a\n#SBATCH --mail-user=x", "not a word that Slurm takes"),
        ("account", "a b", "hydra.launcher.account=a b: not a word that Slurm takes"),
    ],
)
def test_a_wrong_option_is_one_line(key: str, value: object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        options_of({**DEFAULTS, key: value})
    assert message in str(caught.value)


def test_the_yaml_has_the_options_and_no_others() -> None:
    from omegaconf import OmegaConf

    from convarium.config.catalog import conf_dir

    node = OmegaConf.to_container(OmegaConf.load(conf_dir() / "hydra/launcher/slurm.yaml"))
    assert isinstance(node, dict)
    assert set(node) == {"_target_", *Options.__dataclass_fields__}
    options_of(node)  # type: ignore[arg-type]


def test_without_devices_named_a_cluster_is_refused(processes: Processes, own_directory: Path) -> None:
    message = r"^trainer\.accelerator=auto: it runs on another machine; accepted: gpu, cpu \(job 1 of 2: seed=1\)$"
    with pytest.raises(ConfigError, match=message):
        sweep(Cluster(processes, DEFAULTS), "trainer.accelerator=auto", "seed=1,2")
    assert list(own_directory.iterdir()) == []


def test_without_slurm_the_launcher_is_refused_in_one_line(own_directory: Path) -> None:
    words = ["-m", "hydra/launcher=slurm", "trainer=cpu", "seed=1,2", "arch=mlp"]
    environment = {**os.environ, "PATH": str(own_directory)}
    done = subprocess.run([sys.executable, str(TRAIN), *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    message = "this machine has no Slurm (no squeue); give the command where it is"
    assert done.stderr == f"error: hydra/launcher=slurm: {message}\n"
    assert list(own_directory.iterdir()) == []


def test_a_slurm_that_does_not_answer_is_one_line(own_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = own_directory / "squeue"
    program.write_text("#!/bin/sh\necho a >&2; echo 'squeue: error: no controller' >&2; exit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{own_directory}:/bin")
    with pytest.raises(RunError, match=r"^hydra/launcher=slurm: squeue: error: no controller$"):
        check_reachable()


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("PENDING", "", ("waiting", 0, None)),
        ("COMPLETING", "", ("running", 0, None)),
        ("COMPLETED", "JobState=COMPLETED ExitCode=0:0", ("ended", 0, None)),
        ("FAILED", "JobState=FAILED ExitCode=3:0", ("ended", 3, None)),
        ("FAILED", "JobState=FAILED ExitCode=0:9", ("ended", -9, None)),
        ("OUT_OF_MEMORY", "JobState=OUT_OF_MEMORY ExitCode=0:125", ("ended", -125, "oom")),
        ("TIMEOUT", "JobState=TIMEOUT ExitCode=0:15", ("ended", -15, "timeout")),
        ("NODE_FAIL", "JobState=NODE_FAIL ExitCode=0:0", ("ended", 0, "killed")),
        ("CANCELLED", "JobState=CANCELLED ExitCode=0:15", ("ended", -15, "interrupted")),
        (None, "JobState=PENDING ExitCode=0:0", ("waiting", 0, None)),
        (None, "", ("ended", 0, "killed")),
    ],
)
def test_what_slurm_says_of_a_job(
    name: str | None,
    text: str,
    expected: tuple[str, int, str | None],
    own_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    programs = own_directory / "bin"
    programs.mkdir()
    for program, answer in (("scontrol", f"JobId=7 {text} Dependency=" if text else ""), ("sacct", "")):
        (programs / program).write_text(f"#!/bin/sh\necho '{answer}'\n")
        (programs / program).chmod(0o755)
    (programs / "squeue").write_text(f"#!/bin/sh\necho '8_0 RUNNING'\necho '7 {name or ''}'\n")
    (programs / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    state = Slurm(SweepDirectory(own_directory), options_of(DEFAULTS), 9).states(["7"])["7"]
    assert (state.name, state.code, state.outcome and state.outcome.status) == expected
