"""The jobs of a sweep through submitit, its local executor in the place of Slurm (which is in tests/slurm)."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from convarium.errors import ConfigError
from convarium.run.devices import Placement
from convarium.sweep.directory import SweepDirectory
from convarium.sweep.local.processes import Processes
from convarium.sweep.slurm import watch
from convarium.sweep.slurm.options import Options, options_of
from convarium.sweep.slurm.queue import Slurm
from sweeps import BASE, assert_gone, board, found, processes_below, statuses, sweep, weights

TRAIN = Path(__file__).resolve().parents[3] / "train.py"
TESTS = Path(__file__).resolve().parents[2]
LOCAL = ("hydra/launcher=slurm", "hydra.launcher.cluster=local", "hydra.launcher.poll_seconds=0.2")
DEFAULTS: dict[str, Any] = {
    "cluster": "slurm",
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


def command(*words: str, name: str = "s") -> list[str]:
    return [sys.executable, str(TRAIN), "-m", *LOCAL, *BASE, "arch.hidden=[16]", f"sweep.name={name}", *words]


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "CONVARIUM_TRUST": "misbehaving", "PYTHONPATH": str(TESTS)}


def test_jobs_end_with_the_weights_and_statuses_of_any_sweep(
    processes: Processes, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = "norm._target_=misbehaving.Fine,misbehaving.Leaves,misbehaving.IsKilled"
    words = ("norm=none", ends, "trainer.max_epochs=2")
    done = subprocess.run(command(*words), env=environment, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr
    assert statuses("norm._target_") == {
        "misbehaving.Fine": "ok",
        "misbehaving.Leaves": "exited",
        "misbehaving.IsKilled": "killed",
    }
    errors = {row["norm._target_"]: row["error"] for row in board()}
    assert errors["misbehaving.Leaves"] == "exit code 3"
    assert errors["misbehaving.IsKilled"] == "SIGKILL"
    assert {entry["slurm"] for entry in found().entries() if "slurm" in entry}
    monkeypatch.setenv("CONVARIUM_TRUST", "misbehaving")
    assert sweep(processes, *words, name="here") == 1
    assert list(weights().values()) == list(weights("here").values())
    assert len(weights()) == 1


@pytest.mark.slow
def test_jobs_of_the_local_executor_do_not_outlive_the_controller(environment: dict[str, str]) -> None:
    hangs = ("norm=none", "norm._target_=misbehaving.Hangs", "trainer.max_epochs=2")
    words = (*hangs, "seed=1,2", "sweep.jobs=1")
    controller = subprocess.Popen(command(*words), env=environment, stdout=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 120
        while not list(Path("sweeps/s/jobs").glob("*/result.json")):
            assert time.monotonic() < end
            time.sleep(0.1)
        there = processes_below(controller.pid)
    finally:
        controller.kill()
        controller.wait()
    assert len(there) >= 3  # submitit's controller, our task, and the one that trains
    assert_gone(there, 10)


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
        ("cluster", "pbs", "hydra.launcher.cluster=pbs: accepted: slurm or local"),
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


def test_without_devices_named_a_cluster_is_refused(own_directory: Path) -> None:
    words = ["hydra/launcher=slurm", "trainer.accelerator=auto", "seed=1,2", "arch=mlp"]
    done = subprocess.run([sys.executable, str(TRAIN), "-m", *words], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == (
        "error: trainer.accelerator=auto: it runs on another machine; accepted: gpu, cpu (job 1 of 2: seed=1)\n"
    )
    assert list(own_directory.iterdir()) == []


@pytest.mark.parametrize(
    ("squeue", "message"),
    [
        (None, "this machine has no Slurm (no squeue); give the command where it is"),
        ("echo a >&2; echo 'squeue: error: no controller' >&2; exit 1", "squeue: error: no controller"),
    ],
)
def test_a_cluster_out_of_reach_is_one_line(squeue: str | None, message: str, own_directory: Path) -> None:
    programs = own_directory / "bin"
    programs.mkdir()
    if squeue:
        (programs / "squeue").write_text(f"#!/bin/sh\n{squeue}\n")
        (programs / "squeue").chmod(0o755)
    words = ["hydra/launcher=slurm", "trainer=cpu", "seed=1,2", "arch=mlp"]
    environment = {**os.environ, "PATH": f"{programs}:/bin" if squeue else str(programs)}
    done = subprocess.run([sys.executable, str(TRAIN), "-m", *words], capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert done.stderr == f"error: hydra/launcher=slurm: {message}\n"
    assert list(own_directory.iterdir()) == [programs]


@pytest.mark.parametrize(
    ("name", "said", "expected"),
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
    said: str,
    expected: tuple[str, int, str | None],
    own_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    programs = own_directory / "bin"
    programs.mkdir()
    for program, text in (("scontrol", f"JobId=7 {said} Dependency=" if said else ""), ("sacct", "")):
        (programs / program).write_text(f"#!/bin/sh\necho '{text}'\n")
        (programs / program).chmod(0o755)
    (programs / "squeue").write_text(f"#!/bin/sh\necho '8_0 RUNNING'\necho '7 {name or ''}'\n")
    (programs / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    state = Slurm(SweepDirectory(own_directory), options_of(DEFAULTS), 9).states(["7"])["7"]
    assert (state.name, state.code, state.word and state.word.status) == expected


def test_a_task_leaves_word_of_how_the_one_that_trains_ended(own_directory: Path) -> None:
    code = "import sys; from convarium.sweep.slurm.watch import run; run(sys.argv[1], 1, 1, None)"
    done = subprocess.run([sys.executable, "-c", code, str(own_directory / "no_run")], capture_output=True)
    assert done.returncode == 1
    word = json.loads((own_directory / "no_run" / watch.ENDING.format(rank=0)).read_text())
    assert word == {"code": 1, "oom": False}
    assert "not a run directory" in (own_directory / "no_run" / "train.log").read_text()
