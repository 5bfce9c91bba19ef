"""Several devices: the same numbers as one, and an end of all when one of them ends."""

import csv
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convarium.learn.checkpoint_file import read_checkpoint
from end_to_end.test_resume import EXPERIMENT, assert_same, learned
from processes import run, start, train

# 131 images to validate and 127 to test with: neither divides by 2 or 4
SPLITS = ("data=synthetic", "data.channels=1", "data.train_size=651", "data.val_fraction=0.2", "data.test_size=127")
QUICK = ("callbacks=[checkpoint]", "threads=1", "batch_size=32", "trainer.accelerator=cpu")


def rows(folder: Path) -> list[dict[str, float]]:
    with (folder / "metrics.csv").open() as file:
        return [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]


def ranks_of(parent: int) -> list[int]:
    """The processes that `parent` started and that live."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[1]) == parent and words[0] != "Z":
            found.append(int(folder.name))
    return found


def wait_for(path: Path, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, f"no {path}"
        time.sleep(0.005)


def assert_all_end(processes: list[int], seconds: float) -> None:
    end = time.monotonic() + seconds
    while living := [pid for pid in processes if Path(f"/proc/{pid}").exists()]:
        assert time.monotonic() < end, f"{living} live on"
        time.sleep(0.05)


@pytest.mark.parametrize("devices", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_the_trajectory_and_the_metrics_are_those_of_one_device(devices: int, own_directory: Path) -> None:
    experiment = ("arch=mlp", *SPLITS, *QUICK, "augment=crop_flip", "trainer.max_epochs=3")
    log = own_directory / "log"
    assert run(train, *experiment, "run_dir=one", log=log) == 0, log.read_text()
    assert run(train, *experiment, f"trainer.devices={devices}", "run_dir=several", log=log) == 0, log.read_text()
    one, several = rows(Path("one")), rows(Path("several"))
    assert [row.keys() for row in one] == [row.keys() for row in several]
    for left, right in zip(one, several, strict=True):
        assert left == pytest.approx(right, rel=2e-5, abs=1e-7)
        for name in ("val/acc1", "val/acc5", "test/acc1"):
            assert left.get(name) == right.get(name)
    left, right = (json.loads((Path(folder) / "result.json").read_text()) for folder in ("one", "several"))
    assert left["config_hash"] == right["config_hash"]


@pytest.mark.slow
def test_two_ranks_resume_after_their_parent_was_killed_as_if_nothing_had_been(own_directory: Path) -> None:
    package, waiting, go_on = own_directory / "mine", own_directory / "waiting", own_directory / "go_on"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import os\nimport time\nimport torch\n"
        "class Gate(torch.nn.Flatten):\n"
        "    def __init__(self, channels): super().__init__(); self.calls = 0\n"
        "    def forward(self, x):\n"
        "        self.calls += x.device.type != 'meta' and self.training\n"
        f"        while self.calls > 16 and not os.path.exists({str(go_on)!r}):\n"
        f"            open({str(waiting)!r} + os.environ['RANK'], 'w').close()\n"
        "            time.sleep(0.01)\n"
        "        return x\n"
    )
    experiment = [*EXPERIMENT, "trainer.accelerator=cpu", "trainer.devices=2", "norm=none", "norm._target_=mine.Gate"]
    log = own_directory / "log"
    parent = start(_train_trusting, str(own_directory), *experiment, "run_dir=killed", log=log)
    for rank in range(2):
        wait_for(Path(f"{waiting}{rank}"))
    ranks = ranks_of(parent.pid)
    os.kill(parent.pid, signal.SIGKILL)
    parent.join()
    assert len(ranks) >= 2
    assert_all_end(ranks, seconds=5)
    assert read_checkpoint(Path("killed/checkpoints/last.ckpt"))["global_step"] == 6
    go_on.touch()
    assert run(_train_trusting, str(own_directory), *experiment, "run_dir=whole", log=log) == 0, log.read_text()
    assert run(_train_trusting, str(own_directory), "resume=killed", log=log) == 0, log.read_text()
    whole, resumed = (read_checkpoint(Path(folder) / "checkpoints/last.ckpt") for folder in ("whole", "killed"))
    assert_same(learned(resumed), learned(whole))
    assert Path("killed/metrics.csv").read_text() == Path("whole/metrics.csv").read_text()


def test_a_rank_that_is_killed_ends_the_run_and_all_of_it(own_directory: Path) -> None:
    log = own_directory / "log"
    experiment = ("arch=mlp", *SPLITS, *QUICK, "trainer.devices=2", "trainer.max_epochs=100000", "run_dir=run")
    parent = start(train, *experiment, "callbacks.checkpoint.every_n_steps=1", log=log)
    wait_for(Path("run/checkpoints/last.ckpt"))
    ranks = ranks_of(parent.pid)
    started = time.monotonic()
    os.kill(max(ranks), signal.SIGKILL)
    parent.join(30)
    assert parent.exitcode == 1, log.read_text()
    assert time.monotonic() - started < 10
    assert_all_end(ranks, seconds=1)
    result = json.loads(Path("run/result.json").read_text())
    assert result["status"] == "killed"
    assert "SIGKILL" in result["error"]


def test_a_rank_that_raises_is_the_first_thing_read(own_directory: Path) -> None:
    package = own_directory / "mine"
    package.mkdir()
    (package / "__init__.py").write_text(
        "import os\nimport torch\n"
        "class Bad(torch.nn.Flatten):\n"
        "    def __init__(self, channels): super().__init__(); self.calls = 0\n"
        "    def forward(self, x):\n"
        "        self.calls += x.device.type != 'meta' and self.training\n"
        "        if self.calls > 3 and os.environ['RANK'] == '1': raise KeyError('the cause')\n"
        "        return x\n"
    )
    log = own_directory / "log"
    experiment = ("arch=lenet5", *SPLITS, *QUICK, "trainer.devices=2", "norm=none", "norm._target_=mine.Bad")
    code = run(_train_trusting, str(own_directory), *experiment, "run_dir=run", log=log)
    assert code == 1
    printed = log.read_text()
    traces = [line for line in printed.splitlines() if line.startswith(("Traceback", "KeyError", "RuntimeError"))]
    assert traces[:2] == ["Traceback (most recent call last):", "KeyError: 'the cause'"], printed
    result = json.loads(Path("run/result.json").read_text())
    assert (result["status"], result["error"]) == ("failed", "rank 1: KeyError: 'the cause'")


def _train_trusting(folder: str, *overrides: str) -> int:
    import sys

    sys.path.insert(0, folder)
    os.environ.update(CONVARIUM_TRUST="mine", PYTHONPATH=folder)
    return train(*overrides)


def test_a_stopped_parent_lets_its_ranks_save(own_directory: Path) -> None:
    log = own_directory / "log"
    experiment = ("arch=mlp", *SPLITS, *QUICK, "trainer.devices=2", "trainer.max_epochs=100000", "run_dir=run")
    parent = start(train, *experiment, "callbacks.checkpoint.every_n_steps=1000", log=log)
    wait_for(Path("run/checkpoints/last.ckpt"))
    ranks = ranks_of(parent.pid)
    before = read_checkpoint(Path("run/checkpoints/last.ckpt"))["global_step"]
    os.kill(parent.pid, signal.SIGTERM)
    parent.join(60)
    assert parent.exitcode == 128 + signal.SIGTERM, log.read_text()
    assert_all_end(ranks, seconds=2)
    assert json.loads(Path("run/result.json").read_text())["status"] == "interrupted"
    assert read_checkpoint(Path("run/checkpoints/last.ckpt"))["global_step"] > before


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.slow
@pytest.mark.parametrize("starter", ["torchrun", "plain variables"])
def test_ranks_on_two_machines_train_as_one(starter: str, own_directory: Path) -> None:
    log = own_directory / "log"
    experiment = ("arch=mlp", *SPLITS, *QUICK[:3], "trainer=multinode", "trainer.accelerator=cpu", "trainer.devices=1")
    assert run(train, *experiment, "trainer.max_epochs=2", "run_dir=run", log=log) == 0, log.read_text()
    assert "torchrun --nnodes=2 --nproc-per-node=1" in log.read_text()
    port = free_port()
    torchrun = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1", "--master-addr=127.0.0.1"]
    machines = []
    for rank in range(2):
        words, variables = [*torchrun, f"--master-port={port}", f"--node-rank={rank}"], {}
        if starter == "plain variables":
            variables = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": "0"}
            words, variables = [], {**variables, "WORLD_SIZE": "2", "RANK": str(rank)}
        command = [sys.executable, *words, "-m", "convarium.run.worker", "run/config.yaml"]
        machines.append(subprocess.Popen(command, env={**os.environ, **variables}))
    try:
        assert [machine.wait(240) for machine in machines] == [0, 0]
    finally:
        for machine in machines:
            machine.kill()
    assert json.loads(Path("run/result.json").read_text())["status"] == "ok"
    assert run(train, *experiment[:-3], "trainer.accelerator=cpu", "trainer.max_epochs=2", "run_dir=one", log=log) == 0
    for left, right in zip(rows(Path("one")), rows(Path("run")), strict=True):
        assert left == pytest.approx(right, rel=2e-5, abs=1e-7)


@pytest.mark.slow
def test_inception_on_four_processes_sees_every_image_but_the_stated_remainder(own_directory: Path) -> None:
    log = own_directory / "log"
    experiment = ("arch=inception_v1", "data=synthetic", "trainer.accelerator=cpu", "trainer.devices=4")
    sizes = ("data.train_size=331", "data.val_fraction=0.1", "data.test_size=31", "trainer.max_epochs=2")
    assert run(train, *experiment, *sizes, "run_dir=run", log=log, timeout=1200) == 0, log.read_text()
    assert "298 train (10 left out of each epoch), 33 val, 31 test" in log.read_text()
    epochs = [row for row in rows(Path("run")) if "train/images" in row]
    assert [row["train/images"] for row in epochs] == [288, 288]
    result = json.loads(Path("run/result.json").read_text())
    assert result["status"] == "ok"
    assert {"val/acc1", "test/acc1", "test/loss"} <= result["metrics"].keys()
