"""Sweeps on a real Slurm, which start.sh brings up on this machine. Run by `make test-slurm`, as root."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from misbehaving import small_group
from sweeps import BASE, board, statuses, sweep_directory, weights

HERE = Path(__file__).resolve().parent
TRAIN = HERE.parents[1] / "train.py"
pytestmark = pytest.mark.slurm
SLURM = ("hydra/launcher=slurm", "hydra.launcher.cpus_per_device=1", "hydra.launcher.poll_seconds=0.5")
LONG = ("trainer.max_epochs=400", "callbacks.checkpoint.every_n_steps=20", "dropout=0.1")


@pytest.fixture(scope="module", autouse=True)
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The daemons, for all tests of this file; their folder's path is short, for there are sockets in it."""
    if os.geteuid() or not all(shutil.which(name) for name in ("slurmctld", "slurmd", "munged", "srun")):
        pytest.skip("needs slurmctld, slurmd, slurm-client and munge, and to be root")
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([HERE / "start.sh", folder], check=True, timeout=120)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", str(folder / "slurm.conf"))
        patch.setenv("CONVARIUM_TRUST", "misbehaving")
        patch.setenv("PYTHONPATH", str(HERE.parent))
        yield
        subprocess.run([HERE / "stop.sh", folder], check=True, timeout=120)


def command(*words: str, name: str = "s", launcher: tuple[str, ...] = SLURM) -> list[str]:
    return [sys.executable, str(TRAIN), "-m", *launcher, *BASE, "arch.hidden=[16]", f"sweep.name={name}", *words]


def run(*words: str, name: str = "s", launcher: tuple[str, ...] = SLURM) -> int:
    """The exit code of a sweep; what it printed is in NAME.log."""
    with Path(f"{name}.log").open("a") as log:
        return subprocess.run(command(*words, name=name, launcher=launcher), stdout=log, stderr=log).returncode


def run_here(*words: str, name: str) -> int:
    return run(*words, name=name, launcher=())


def start(*words: str, name: str = "s") -> subprocess.Popen[bytes]:
    with Path(f"{name}.log").open("ab") as log:
        return subprocess.Popen(command(*words, name=name), stdout=log, stderr=log)


def wait_for(pattern: str, count: int = 1, seconds: float = 120) -> None:
    """Until so many files are there."""
    end = time.monotonic() + seconds
    while len(list(Path().glob(pattern))) < count:
        assert time.monotonic() < end, f"no {count} {pattern}"
        time.sleep(0.1)


def identities() -> list[str]:
    """Of the jobs that were submitted, each once."""
    return sorted({entry["slurm"] for entry in sweep_directory().entries() if "slurm" in entry})


def history(job: str) -> list[str]:
    """The states of a job one after the other."""
    states = [entry["status"] for entry in sweep_directory().entries() if entry["job"] == job]
    return [state for place, state in enumerate(states) if place == 0 or states[place - 1] != state]


def test_an_array_of_jobs_ends_as_the_same_sweep_on_this_machine() -> None:
    assert run("seed=1,2,3") == 0
    assert run_here("seed=1,2,3", "threads=1", name="here") == 0
    assert weights() == weights("here")
    assert len({identity.partition("_")[0] for identity in identities()}) == 1
    assert run("seed=1,2,3") == 0  # again: nothing is submitted
    assert len(identities()) == 3


def test_a_job_on_two_machines_measures_as_one_on_one() -> None:
    words = ("trainer.num_nodes=1,2", "data.train_size=651", "data.val_fraction=0.2", "data.test_size=127")
    assert run(*words) == 0
    one, two = sorted(board(), key=lambda row: row["trainer.num_nodes"])
    assert (one["status"], two["status"]) == ("ok", "ok")
    for name in ("val/acc1", "best/val/acc1", "test/acc1"):
        assert one[name] == two[name]


def test_each_way_to_end_has_its_status() -> None:
    names = ["Fine", "Raises", "Exits", "Leaves", "Segfaults", "IsKilled", "Diverges", "AsksTooMuch", "Hangs"]
    group = None
    try:
        group = small_group()
        names.append("Eats")
    except OSError:
        pass
    ends = f"norm._target_={','.join(f'misbehaving.{name}' for name in names)}"
    try:
        assert run("norm=none", ends, "trainer.max_epochs=2", "sweep.timeout=20") == 1
    finally:
        if group is not None:
            group.rmdir()
    expected = {
        "Fine": "ok",
        "Raises": "failed",
        "Exits": "exited",
        "Leaves": "exited",
        "Segfaults": "killed",
        "IsKilled": "killed",
        "Diverges": "diverged",
        "AsksTooMuch": "oom",
        "Hangs": "timeout",
        "Eats": "oom",
    }
    assert statuses("norm._target_") == {f"misbehaving.{name}": expected[name] for name in names}


def test_a_rank_on_another_machine_that_fails_ends_the_job() -> None:
    assert run("norm=none", "norm._target_=misbehaving.Raises", "trainer.num_nodes=2", "seed=1,2", *LONG) == 1
    assert {row["status"] for row in board()} == {"failed"}


def test_jobs_outlive_a_killed_controller_and_are_found_again() -> None:
    controller = start("seed=1,2", *LONG)
    wait_for("sweeps/s/jobs/*/checkpoints/last.ckpt", 2)
    controller.kill()
    controller.wait()
    submitted = identities()
    assert run("seed=1,2", *LONG) == 0
    assert identities() == submitted
    assert run_here("seed=1,2", "threads=1", *LONG, name="here") == 0
    assert weights() == weights("here")


def test_a_preempted_job_is_queued_again_and_goes_on() -> None:
    low = (*SLURM, "hydra.launcher.partition=low")
    with Path("s.log").open("ab") as log:
        controller = subprocess.Popen(command("seed=1,2", *LONG, launcher=low), stdout=log, stderr=log)
    wait_for("sweeps/s/jobs/*/checkpoints/last.ckpt", 2)
    line = ["sbatch", "--partition=high", "--nodes=2", "--exclusive", "--time=1", "--output=/dev/null"]
    subprocess.run([*line, "--wrap=sleep 3"], check=True, stdout=subprocess.DEVNULL)
    assert controller.wait(300) == 0
    assert len(identities()) == 2
    for row in board():
        assert history(Path(row["path"]).name) == ["queued", "running", "queued", "running", "ok"]
    assert run_here("seed=1,2", "threads=1", *LONG, name="here") == 0
    assert weights() == weights("here")


def test_a_job_whose_time_is_up_saves_and_goes_on() -> None:
    short = (*SLURM, "hydra.launcher.minutes=1", "hydra.launcher.save_seconds=45")
    words = ("seed=1,2", *LONG, "trainer.max_epochs=1000")
    assert run(*words, launcher=short) == 0
    assert any("queued" in history(Path(row["path"]).name)[1:] for row in board())
    assert {row["status"] for row in board()} == {"ok"}


def test_ctrl_c_stops_the_jobs_and_the_same_command_goes_on() -> None:
    controller = start("seed=1,2,3,4,5", *LONG)
    wait_for("sweeps/s/jobs/*/checkpoints/last.ckpt", 2)
    controller.send_signal(signal.SIGINT)
    assert controller.wait(120) == 130
    assert {row["status"] for row in board()} <= {"interrupted", "queued", "ok"}
    left = subprocess.run(["squeue", "--noheader", "--states=running,pending"], capture_output=True, text=True)
    assert left.stdout == ""
    assert run("seed=1,2,3,4,5", *LONG) == 0
    assert {row["status"] for row in board()} == {"ok"}
