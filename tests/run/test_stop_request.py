"""SIGTERM and Ctrl-C, wherever they come: one line, status `interrupted`, and what was saved is there."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from convarium.learn.checkpoint_file import read_checkpoint
from convarium.run.stop_request import Interrupted, StopRequest
from processes import run, start, train, train_signalled

QUICK = (
    "arch=mlp",
    "data=synthetic",
    "data.channels=1",
    "data.image_size=8",
    "callbacks=[checkpoint]",
    "threads=1",
    "trainer.accelerator=cpu",
    "run_dir=run",
)


def result() -> dict:
    found: dict = json.loads(Path("run/result.json").read_text())
    return found


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("moment", ["data", "loggers", "set-up"])
def test_a_signal_before_the_first_step_ends_the_run_at_once(
    signum: signal.Signals, moment: str, own_directory: Path
) -> None:
    log = own_directory / "log"
    words = (*QUICK, "trainer.max_epochs=1")
    assert run(_signalled_before_the_first_step, signum, moment, *words, log=log) in (128 + signum, -signum)
    assert "Traceback" not in log.read_text()
    if moment == "data":
        assert not Path("run").exists()
    else:
        found = result()
        assert (found["status"], found["error"]) == ("interrupted", f"stopped by {signum.name}")
        assert found["steps"] == 0
        assert run(train, "resume=run", log=log) == 0, log.read_text()


def _signalled_before_the_first_step(signum: int, moment: str, *overrides: str) -> int:
    from convarium.learn.learner import Learner
    from convarium.run import fit, prepare

    owner, name = {
        "data": (prepare, "read_data"),
        "loggers": (fit, "connect_loggers"),
        "set-up": (Learner, "configure_optimizers"),
    }[moment]
    own = getattr(owner, name)

    def kills(*arguments: object) -> object:
        os.kill(os.getpid(), signum)
        return own(*arguments)

    setattr(owner, name, kills)
    return train(*overrides)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_in_the_test_ends_the_run_and_a_resume_tests_again(
    signum: signal.Signals, own_directory: Path
) -> None:
    log = own_directory / "log"
    words = (*QUICK, "trainer.max_epochs=2")
    assert run(_signalled_in_the_test, signum, *words, log=log) == 128 + signum, log.read_text()
    assert result()["status"] == "interrupted"
    assert "Traceback" not in log.read_text()
    assert "test/acc1" not in result()["metrics"]
    assert read_checkpoint(Path("run/checkpoints/last.ckpt"))["epoch"] == 1
    assert run(train, "resume=run", log=log) == 0, log.read_text()
    assert result()["metrics"]["test/acc1"] > 0
    assert result()["status"] == "ok"


def _signalled_in_the_test(signum: int, *overrides: str) -> int:
    from convarium.learn.learner import Learner

    own = Learner.test_step

    def kills(self: Learner, batch: object, batch_idx: int) -> object:
        os.kill(os.getpid(), signum)
        return own(self, batch, batch_idx)

    Learner.test_step = kills
    return train(*overrides)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_the_last_validation_saves_the_end_of_the_training(
    signum: signal.Signals, own_directory: Path
) -> None:
    log = own_directory / "log"
    words = (*QUICK, "trainer.max_epochs=1", "data.eval_batch_size=64")  # two batches
    assert run(train_signalled, signum, "validation", 2, *words, log=log) == 128 + signum, log.read_text()
    assert result()["status"] == "interrupted"
    assert result()["metrics"]["val/acc1"] > 0
    assert run(train, "resume=run", log=log) == 0, log.read_text()
    assert (result()["status"], result()["steps"]) == ("ok", 16)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_keeps_no_checkpoints_ends_as_politely(signum: signal.Signals, own_directory: Path) -> None:
    log = own_directory / "log"
    code = run(train_signalled, signum, "step", 3, *QUICK, "callbacks=[]", log=log)
    assert code == 128 + signum, log.read_text()
    assert (result()["status"], result()["error"]) == ("interrupted", f"stopped by {signum.name}")
    assert "Traceback" not in log.read_text()


def test_a_second_ctrl_c_ends_the_run_at_once(own_directory: Path) -> None:
    """In the middle of a step that takes a minute."""
    log = own_directory / "log"
    process = start(_slow_third_step, *QUICK, log=log)
    end = time.monotonic() + 60
    while not Path("slow").exists():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGINT)
    time.sleep(0.5)
    os.kill(process.pid, signal.SIGINT)  # the terminal and a parent may both pass on the same one
    time.sleep(0.5)
    assert process.is_alive()
    time.sleep(1.5)
    os.kill(process.pid, signal.SIGINT)
    process.join(5)
    assert process.exitcode == 130, log.read_text()
    assert result()["status"] == "interrupted"
    assert "without a checkpoint" in result()["error"]
    assert "Traceback" not in log.read_text()


def _slow_third_step(*overrides: str) -> int:
    from convarium.learn.learner import Learner

    own = Learner.configure_gradient_clipping
    steps = 0

    def slow(self: Learner, *arguments: object, **named: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 3:
            Path("slow").touch()
            for _ in range(600):
                time.sleep(0.1)
        own(self, *arguments, **named)

    Learner.configure_gradient_clipping = slow
    return train(*overrides)


def test_two_ranks_end_together_when_told_so_in_the_test(own_directory: Path) -> None:
    log = own_directory / "log"
    words = (*QUICK, "trainer.devices=2", "trainer.max_epochs=1", "data.test_size=3000000", "data.eval_batch_size=2")
    process = start(train, *words, log=log)
    end = time.monotonic() + 120
    while not Path("run/weights.safetensors").exists():
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.05)
    time.sleep(0.5)
    before = time.monotonic()
    os.kill(process.pid, signal.SIGTERM)
    process.join(30)
    assert process.exitcode == 128 + signal.SIGTERM, log.read_text()
    assert time.monotonic() - before < 10
    assert result()["status"] == "interrupted"


@pytest.mark.slow
def test_what_rank_0_has_to_write_at_the_end_is_waited_for(own_directory: Path) -> None:
    """Ranks that leave first would have it ended: both diverge, and rank 0 takes two seconds over its record."""
    (own_directory / "slowly.py").write_text(
        "import time\nfrom lightning.pytorch.loggers import Logger\n"
        "class Slow(Logger):\n"
        "    name, version = 'slow', None\n"
        "    def log_metrics(self, metrics, step): pass\n"
        "    def log_hyperparams(self, *_): pass\n"
        "    def finalize(self, status): self.ended = True\n"
        "    def __init__(self, flush_seconds): super().__init__()\n"
        "    def save(self):\n"
        "        from lightning.pytorch.utilities.rank_zero import rank_zero_only\n"
        "        if rank_zero_only.rank == 0 and hasattr(self, 'ended'): time.sleep(2)\n"
    )
    log = own_directory / "log"
    words = ("trainer.devices=2", "optimizer=sgd", "optimizer.lr=1e30", "clip=none", "logger=tensorboard")
    entry = "logger.tensorboard._target_=slowly.Slow"
    assert run(_trusting, str(own_directory), *QUICK, *words, entry, log=log) == 1, log.read_text()
    assert result()["status"] == "diverged"
    assert f"diverged: {result()['error']}" in log.read_text().splitlines()


def _trusting(folder: str, *overrides: str) -> int:
    sys.path.insert(0, folder)
    os.environ.update(CONVARIUM_TRUST="slowly", PYTHONPATH=folder)
    return train(*overrides)


# the parts ------------------------------------------------------------------------------------------------------------


def test_a_signal_is_raised_where_nobody_waits_for_it_and_noted_where_somebody_does() -> None:
    stop = StopRequest()
    with pytest.raises(Interrupted, match="stopped by SIGTERM"), stop.listening():
        os.kill(os.getpid(), signal.SIGTERM)
    stop = StopRequest()
    stop.waits = True
    with stop.listening():
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.agreed() == signal.SIGINT
        os.kill(os.getpid(), signal.SIGTERM)  # the first one counts
        assert stop.agreed() == signal.SIGINT
        with pytest.raises(Interrupted, match="SIGINT"):
            stop.finish()


def test_the_first_ctrl_c_of_a_training_is_answered_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    for rank in (0, 1):
        stop = StopRequest()
        stop.begin(SimpleNamespace(world_size=1, is_global_zero=rank == 0))
        with stop.listening():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
        assert capfd.readouterr().err.count("stopping after this step; Ctrl-C once more: at once") == (rank == 0)


def test_the_handlers_of_before_are_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with StopRequest().listening():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's own signal")
def test_a_process_dies_with_its_parent_whatever_it_is_doing(own_directory: Path) -> None:
    child = (
        "import os, signal, sys, time; from convarium.machine import die_with_parent\n"
        "die_with_parent(int(sys.argv[1])); signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print(os.getpid(), flush=True); time.sleep(60)"
    )
    parent = (
        "import os, subprocess, sys\n"
        "subprocess.run([sys.executable, '-c', sys.argv[1], str(os.getpid())], stdout=open('pid', 'w'))"
    )
    process = subprocess.Popen([sys.executable, "-c", parent, child])
    end = time.monotonic() + 60
    while not (Path("pid").exists() and Path("pid").read_text()):
        assert time.monotonic() < end
        time.sleep(0.05)
    process.kill()
    process.wait()
    place = Path("/proc") / Path("pid").read_text().strip()
    end = time.monotonic() + 5
    while place.exists() and (place / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
        assert time.monotonic() < end
        time.sleep(0.01)
