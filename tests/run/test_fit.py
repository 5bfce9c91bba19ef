"""One experiment: its length, how it ends, and what an ending is called."""

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from convarium.config.compose import compose
from convarium.errors import ConfigError, RunError
from convarium.learn.checkpoint_file import read_checkpoint
from convarium.learn.lengths import TrainingLength
from convarium.run import worker
from convarium.run.devices import RANK_VARIABLES, cluster_environment
from convarium.run.directory import RunDirectory
from convarium.run.fit import classify_failure
from convarium.run.launch import launch
from convarium.run.metrics_file import Heartbeat
from convarium.run.prepare import prepare
from convarium.run.resume import resume_config
from convarium.run.stop_request import Interrupted
from experiments import SMALL, config_of, experiment, rows, weights
from processes import run as run_process
from processes import train

Command = Callable[..., Any]


@pytest.mark.parametrize(
    ("words", "length"),
    [
        (["trainer.max_epochs=3"], TrainingLength(48, 16)),
        (["trainer.max_epochs=3", "trainer.max_steps=20"], TrainingLength(20, 16)),
        (["trainer.max_epochs=3", "trainer.max_steps=100"], TrainingLength(48, 16)),
        (["trainer.accumulate_grad_batches=4"], TrainingLength(16, 16)),
        (["trainer.limit_train_batches=5"], TrainingLength(5, 5)),
        (["trainer.limit_train_batches=0.3"], TrainingLength(4, 4)),
        (["trainer.limit_train_batches=8", "trainer.accumulate_grad_batches=4"], TrainingLength(2, 2)),
        (["trainer.limit_train_batches=100"], TrainingLength(16, 16)),
        (["trainer.overfit_batches=2"], TrainingLength(2, 2)),
        (["data.train_size=650"], TrainingLength(16, 16)),
        (["data.train_size=650", "data.drop_last=false"], TrainingLength(17, 17)),
        (["trainer=debug", "trainer.max_epochs=7"], TrainingLength(1, 1)),
    ],
)
def test_the_length_of_a_run_follows_from_its_config(words: list[str], length: TrainingLength) -> None:
    config = config_of(*words)
    assert prepare(config).length == length


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trainer.limit_train_batches=0.01"], "trainer.limit_train_batches=0.01: leaves no batch to train on"),
        (
            ["trainer.limit_train_batches=0.15", "trainer.accumulate_grad_batches=4"],
            "trainer.limit_train_batches=0.15: leaves 9 micro-batches",
        ),
        (
            ["trainer.val_check_interval=17"],
            "trainer.val_check_interval=17: more than the 16 micro-batches of an epoch",
        ),
        (["schedule.warmup=2"], "schedule.warmup=2.0: 32 steps is not less than the run's 16"),
        (["schedule=multistep", "schedule.milestones=[20 steps]"], "schedule.milestones=20 steps: step 20 is not"),
        (["average=polyak", "average.start=3"], "average.start=3: is not inside the run of 16 steps"),
        (["stop=early", "data.val_fraction=0"], "stop.monitor=val/acc1: there are no validation images"),
        (["schedule=plateau", "data.val_fraction=0"], "schedule.monitor=val/loss: there are no validation images"),
    ],
)
def test_what_does_not_fit_into_the_run_is_refused_with_nothing_made(
    words: list[str], message: str, own_directory: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        experiment(*words)
    assert str(caught.value).startswith(message.replace("=2.0", "=2"))
    assert list(own_directory.iterdir()) == []


def test_a_batch_larger_than_what_is_left_to_train_on_is_refused() -> None:
    config = config_of()
    config["batch_size"] = config["data"]["batch_size"] = 513
    with pytest.raises(ConfigError, match=r"batch_size=513"):
        prepare(config)


# endings --------------------------------------------------------------------------------------------------------------


def caused_by(cause: BaseException, failure: BaseException) -> BaseException:
    failure.__context__ = cause
    return failure


@pytest.mark.parametrize(
    ("failure", "ending"),
    [
        (KeyError("x"), ("failed", "KeyError: 'x'", 1)),
        (ValueError("one\ntwo"), ("failed", "ValueError: one", 1)),
        (torch.OutOfMemoryError("CUDA out of memory. Tried"), ("oom", "CUDA out of memory. Tried", 1)),
        (MemoryError(), ("oom", "out of memory", 1)),
        (Interrupted(signal.SIGTERM), ("interrupted", "stopped by SIGTERM", 143)),
        (OSError(errno.ENOSPC, "", "/tmp/a"), ("failed", "/tmp/a: no space left on the disk", 1)),
        (SystemExit(3), ("exited", "exit code 3", 3)),
        (SystemExit(None), ("exited", "exit code None", 1)),
        (KeyboardInterrupt(), ("interrupted", "stopped by Ctrl-C, without a checkpoint", 130)),
        (
            caused_by(KeyboardInterrupt(), SystemExit(1)),
            ("interrupted", "stopped by Ctrl-C, without a checkpoint", 130),
        ),
    ],
)
def test_an_ending_has_a_status_a_line_and_an_exit_code(failure: BaseException, ending: tuple[str, str, int]) -> None:
    assert classify_failure(failure, RunDirectory(Path("run")))[:3] == ending


@pytest.mark.parametrize(
    ("exitcode", "trace", "line", "plain"),
    [
        (1, "Traceback ...\nconvarium.errors.RunError: /data/a.jpg: unreadable image", "/data/a.jpg: unreadable", True),
        (1, "Traceback ...\nValueError: a: b", "ValueError: a: b", False),
        (-9, "", "SIGKILL", False),
        (3, "", "exit code 3", False),
    ],
)
def test_why_a_rank_ended_is_one_line(exitcode: int, trace: str, line: str, plain: bool) -> None:
    failure = worker.RankFailed(1, exitcode, trace)
    assert str(failure).startswith(line)
    assert failure.is_plain == plain


def breaks(owner: Any, name: str, failure: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise failure

    monkeypatch.setattr(owner, name, fails)


def test_a_failure_is_recorded_with_its_traceback_on_the_screen_and_in_the_log(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from convarium.learn.learner import Learner

    breaks(Learner, "test_step", ArithmeticError("of some kind"), monkeypatch)
    run = experiment(code=1)
    result = run.result()
    assert (result["status"], result["error"]) == ("failed", "ArithmeticError: of some kind")
    assert (result["steps"], result["metrics"]["val/acc1"] > 0) == (16, True)
    error = capsys.readouterr().err
    assert error.startswith("Traceback (most recent call last):")
    assert error.splitlines()[-2:] == ["ArithmeticError: of some kind", "failed: ArithmeticError: of some kind"]
    assert error in run.log_file.read_text()


def test_running_out_of_memory_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from convarium.learn.learner import Learner

    breaks(Learner, "configure_gradient_clipping", torch.OutOfMemoryError("CUDA out of memory."), monkeypatch)
    assert experiment(code=1).result()["status"] == "oom"
    assert capsys.readouterr().err == "oom: CUDA out of memory.\n"


def test_a_run_that_failed_goes_on_from_its_last_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    from convarium.learn.learner import Learner

    with monkeypatch.context() as broken:
        breaks(Learner, "on_test_start", RuntimeError("once"), broken)
        run = experiment("trainer.max_epochs=2", code=1)
    before = rows(run, "train/loss_step")
    assert launch(prepare(run.config()), [], resume=run.path) == 0
    assert rows(run, "train/loss_step") == before
    assert run.result()["status"] == "ok"
    assert run.result()["error"] is None


def test_a_run_that_ends_before_it_has_gone_on_keeps_the_record_of_its_earlier_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from convarium.learn.learner import Learner
    from convarium.run import fit

    run = experiment("trainer.max_steps=8")
    config, given, _ = resume_config(run.path, ["trainer.max_steps=16"])
    kept = ("metrics", "images_per_second", "epochs", "steps", "saved_steps")
    before = {name: run.result()[name] for name in kept}
    assert before["steps"] == 8
    for owner, name, failure, ending in (
        (fit, "connect_loggers", Interrupted(signal.SIGTERM), ("interrupted", "stopped by SIGTERM")),
        (Learner, "configure_optimizers", RuntimeError("of some kind"), ("failed", "RuntimeError: of some kind")),
    ):
        with monkeypatch.context() as broken:
            breaks(owner, name, failure, broken)
            assert launch(prepare(config), given, resume=run.path) != 0
        result = run.result()
        assert (result["status"], result["error"]) == ending
        assert {name: result[name] for name in kept} == before
    assert launch(prepare(config), given, resume=run.path) == 0
    assert run.result()["steps"] == 16


def test_a_run_that_ended_within_an_epoch_goes_on_there() -> None:
    words = ("trainer.max_epochs=3", "schedule=constant", "augment=crop_flip", "average=ema", "test.weights=last")
    whole = experiment(*words, "trainer.max_steps=40", folder="whole")
    run = experiment(*words, "trainer.max_steps=20")
    with pytest.raises(RunError, match=r"it is finished \(at its end\); trainer.max_steps=40 would go on with it"):
        launch(prepare(run.config()), [], resume=run.path)
    longer = run.config()
    longer["trainer"]["max_steps"] = 40
    assert launch(prepare(longer), [], resume=run.path) == 0
    assert rows(run, "train/loss_step") == rows(whole, "train/loss_step")
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(run).items())
    (ours, theirs), best = (each.result()["metrics"] for each in (run, whole)), "best/val/acc1"  # at 20 steps too
    assert ours | {best: None} == theirs | {best: None}


@pytest.mark.parametrize(
    ("limit", "validations"),
    [
        (("trainer.max_steps=20",), 2),
        (("trainer.max_steps=20", "trainer.profiler=simple"), 2),
        (("trainer.max_epochs=2", "trainer.check_val_every_n_epoch=9"), 1),
    ],
)
def test_a_run_is_validated_where_it_ends_and_these_weights_may_be_the_best(
    limit: tuple[str, ...], validations: int
) -> None:
    run = experiment("trainer.max_epochs=3", *limit, "stop=early", "stop.monitor=train/loss", "stop.patience=3")
    result = run.result()
    last = read_checkpoint(run.last)
    assert last["global_step"] == result["steps"] == rows(run, "step")[-1]
    assert result["metrics"]["val/acc1"] == rows(run, "val/acc1")[-1]
    assert len(rows(run, "val/acc1")) == validations
    best = max(rows(run, "val/acc1"))
    assert result["metrics"]["best/val/acc1"] == best == last["callbacks"]["Checkpoint"]["best_score"]


@pytest.mark.parametrize("words", [(), ("trainer.limit_val_batches=0",), ("trainer.profiler=simple",)])
def test_a_time_limit_waits_for_the_gradients_that_have_gathered(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*words, "trainer.accumulate_grad_batches=4", "schedule=constant", "trainer.max_epochs=2")

    def time_is_up(heartbeat: Heartbeat, trainer: Any, module: Any, outputs: Any, batch: Any, number: int) -> None:
        trainer.should_stop = trainer.should_stop or number == 5  # the second of four whose gradients make a step

    with monkeypatch.context() as limited:
        limited.setattr(Heartbeat, "on_train_batch_end", time_is_up)
        run = experiment(*words)
    assert run.result()["steps"] == read_checkpoint(run.last)["global_step"] == 2
    assert goes_on(run)["steps"] == 32
    whole = experiment(*words, folder="whole")
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(run).items())


@pytest.mark.parametrize("most", [34, 32])
def test_a_run_limited_in_steps_goes_on_as_if_it_had_not_ended(most: int) -> None:
    words = ("schedule=constant", "trainer.max_epochs=4")
    run = experiment(*words, f"trainer.max_steps={most}")
    longer = goes_on(run, "trainer.max_steps=64")
    whole = experiment(*words, folder="whole")
    assert (longer["status"], longer["epochs"], longer["steps"]) == ("ok", 4, 64)
    assert all(torch.equal(value, weights(whole)[name]) for name, value in weights(run).items())


def test_any_figure_that_is_logged_may_choose_the_best_and_end_the_run() -> None:
    words = ("callbacks.checkpoint.monitor=train/loss", "stop=early", "stop.monitor=train/loss", "stop.patience=1")
    run = experiment(*words, "data.val_fraction=0", "optimizer=sgd", "optimizer.lr=1e-9", "trainer.max_epochs=9")
    losses = rows(run, "train/loss")
    assert len(losses) < 9
    assert run.result()["metrics"]["best/train/loss"] == min(losses)
    assert read_checkpoint(run.best)["epoch"] == losses.index(min(losses))


def written(run: RunDirectory) -> dict[Path, bytes]:
    files = (path for path in run.path.rglob("*") if path.is_file() and path.name != ".lock")
    return {path: path.read_bytes() for path in files}


def goes_on(run: RunDirectory, *words: str) -> dict[str, Any]:
    """The result of a run that goes on, changed by overrides."""
    config, given, _ = resume_config(run.path, words)
    assert launch(prepare(config), given, resume=run.path) == 0
    return run.result()


def test_a_finished_run_is_refused_untouched_and_says_how_it_ended_and_what_would_go_on() -> None:
    def refused(line: str, *words: str) -> None:
        before, config = written(run), resume_config(run.path, words)[0]
        with pytest.raises(RunError) as caught:
            launch(prepare(config), [], resume=run.path)
        assert str(caught.value) == f"resume={run.path}: it is finished{line}"
        assert written(run) == before

    tiny = ("trainer.limit_train_batches=2",)
    run = experiment(*tiny, "trainer.max_epochs=2", folder="end")
    refused(" (at its end); trainer.max_epochs=4 would go on with it")
    assert goes_on(run, "trainer.max_epochs=4")["steps"] == 8

    run = experiment(*tiny, "trainer.max_epochs=2", "trainer.max_steps=50", folder="the limit that was reached")
    refused(" (at its end); trainer.max_epochs=4 would go on with it")
    run = experiment(*tiny, "trainer.max_epochs=2", "trainer.max_steps=4", folder="both limits")
    refused(" (at its end); trainer.max_steps=8 and trainer.max_epochs=4 would go on with it")
    run = experiment("trainer.fast_dev_run=true", folder="a try")
    refused("; a trainer.fast_dev_run keeps nothing to go on with")


def test_a_run_that_stopped_early_goes_on_with_more_patience_or_without_a_stop() -> None:
    stop = ("stop=early", "stop.patience=2", "optimizer.lr=1e-9", "schedule=constant", "trainer.max_epochs=9")
    run = experiment(*stop)
    assert run.result()["epochs"] == 3
    before = written(run)
    with pytest.raises(RunError, match=r"\(by early stopping\); stop=none or stop\.patience=4 would go on with it$"):
        goes_on(run, "trainer.max_epochs=40")
    assert written(run) == before
    assert goes_on(run, "stop.patience=4")["epochs"] == 5
    assert rows(run, "train/loss")[-1] == rows(experiment(*stop, "stop.patience=4", folder="whole"), "train/loss")[-1]
    assert goes_on(run, "stop=none")["epochs"] == 9
    assert goes_on(run, "trainer.max_epochs=10")["epochs"] == 10


def test_a_run_whose_time_was_over_goes_on_with_more_time() -> None:
    run = experiment("trainer.max_epochs=100000", "trainer.max_time=00:00:00:01", "schedule=constant")
    before, done = written(run), run.result()
    assert done["epochs"] == -(-done["steps"] // 16)
    with pytest.raises(RunError, match=r"\(by its time limit\); trainer\.max_time=00:00:00:0\d would go on with it$"):
        goes_on(run)
    assert written(run) == before
    assert goes_on(run, "trainer.max_time=00:00:00:02")["steps"] > done["steps"]


def test_the_epochs_of_a_run_that_comes_back_for_its_test_alone_are_those_it_began(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from convarium.learn.learner import Learner

    with monkeypatch.context() as broken:
        breaks(Learner, "on_test_start", RuntimeError("once"), broken)
        run = experiment("trainer.max_epochs=3", "trainer.max_steps=20", code=1)
    assert run.result()["epochs"] == 2
    assert goes_on(run)["epochs"] == 2


def test_each_row_has_the_epoch_of_its_step_and_the_test_that_of_the_last() -> None:
    run = experiment("trainer.max_epochs=2", "trainer.val_check_interval=0.5")
    assert rows(run, "step") == [*range(1, 33)]
    assert rows(run, "epoch") == [0] * 16 + [1] * 16
    run = experiment("trainer.max_epochs=3", "trainer.max_steps=20", folder="within an epoch")
    assert rows(run, "epoch") == [0] * 16 + [1] * 4
    accumulated = ("trainer.accumulate_grad_batches=4", "data.train_size=650", "data.drop_last=false")
    run = experiment("trainer.max_epochs=2", *accumulated, folder="accumulated")
    assert rows(run, "epoch") == [0] * 17 + [1] * 17


# parts ----------------------------------------------------------------------------------------------------------------


def test_the_last_weights_are_tested_where_there_is_no_best(capsys: pytest.CaptureFixture[str]) -> None:
    experiment("data.val_fraction=0")
    assert "\ntesting the last weights\n" in capsys.readouterr().out


def test_of_the_best_weights_that_are_tested_the_epoch_is_said(averaged_run: RunDirectory) -> None:
    epoch = read_checkpoint(averaged_run.best)["epoch"] + 1
    assert f"\ntesting the best, averaged weights (epoch {epoch})\n" in averaged_run.log_file.read_text()


def test_threads_are_shared_out_and_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    config = compose([word for word in SMALL if not word.startswith("threads")]).config
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert prepare(config).config["threads"] == cores
    shared = {**config, "trainer": config["trainer"] | {"devices": 2}}
    assert prepare(shared).config["threads"] == max(1, cores // 2)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert [prepare(each).config["threads"] for each in (config, shared, {**config, "threads": 3})] == [5, 5, 3]


def test_ranks_are_found_by_who_started_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert type(cluster_environment(1)).__name__ == "LightningEnvironment"
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    assert type(cluster_environment(4)).__name__ == "TorchElasticEnvironment"
    monkeypatch.delenv("TORCHELASTIC_RUN_ID")
    with pytest.raises(RunError, match="one of 4 ranks, but which"):
        cluster_environment(4)
    for name in RANK_VARIABLES:
        monkeypatch.setenv(name, "1")
    assert type(cluster_environment(4)).__name__ == "TorchElasticEnvironment"


def test_variables_of_another_launcher_do_not_mislead_a_run(own_directory: Path) -> None:
    log = own_directory / "log"
    words = ["arch=mlp", "data=synthetic", "callbacks=[]", "trainer.max_epochs=1", "run_dir=run"]
    assert run_process(_as_a_left_over_rank, *words, log=log) == 0, log.read_text()
    assert RunDirectory.open("run").result()["device"] == "cpu"


def _as_a_left_over_rank(*overrides: str) -> int:
    os.environ.update(RANK="3", WORLD_SIZE="8", LOCAL_RANK="3", MASTER_ADDR="10.0.0.1", MASTER_PORT="29500")
    os.environ.update(TORCHELASTIC_RUN_ID="left over")
    return train(*overrides)


def test_a_frozen_run_is_started_by_torchrun_and_resumed_by_the_same_line(
    own_directory: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As on a cluster, with one process."""
    config = {**config_of("trainer.max_epochs=1"), "threads": 1}
    run = RunDirectory(own_directory / "run")
    run.make(config, [])
    line = [sys.executable, "-m", "convarium.run.worker", str(run.config_file)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(run.result_file.read_text())["status"] == "ok"
    assert run.log_file.read_text() == done.stdout
    before = run.result_file.read_bytes()
    assert worker.main([str(run.config_file)]) == 2
    line = f"error: resume={run.path}: it is finished (at its end); trainer.max_epochs=2 would go on with it\n"
    assert capfd.readouterr().err.endswith(line)
    assert run.result_file.read_bytes() == before


def test_a_run_goes_on_from_its_last_checkpoint_and_lends_its_weights_by_its_folder(convarium: Command) -> None:
    run = experiment("trainer.max_steps=8", "schedule=constant")
    assert convarium("train", f"resume={run.last}", "trainer.max_steps=16").code == 0
    assert run.result()["steps"] == 16
    refused = f"error: resume={run.best}: no run; accepted: the folder of a run\n"
    assert convarium("train", f"resume={run.best}").err == refused
    begun = experiment("weights=run", "optimizer.lr=0", folder="begun")
    assert begun.config()["weights"] == str(run.weights)
    given, taken = load_file(run.weights), load_file(begun.weights)
    assert all(torch.equal(value, taken[name]) for name, value in given.items())
    measured = convarium("evaluate", *SMALL[:4], "arch.hidden=[16]", "weights=run", "--json").out
    measured = measured[measured.index("{") :]  # behind what the runs have printed
    assert json.loads(measured)["metrics"]["test/loss"] == pytest.approx(run.result()["metrics"]["test/loss"], rel=1e-5)


# trainer.profiler


@pytest.fixture(scope="module")
def unprofiled(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return experiment("trainer.max_epochs=2", "schedule=constant", folder=str(tmp_path_factory.mktemp("plain") / "run"))


@pytest.mark.parametrize(("profiler", "says"), [("simple", "run_training_batch"), ("advanced", "ncalls")])
def test_a_profile_lies_in_the_folder_of_the_run_and_changes_no_weight(
    profiler: str, says: str, unprofiled: RunDirectory, own_directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = experiment("trainer.max_epochs=2", "schedule=constant", f"trainer.profiler={profiler}")
    files = {path.name: path.read_text() for path in (run.path / "profile").iterdir()}
    assert sorted(files) == [f"fit-{profiler}.txt", f"test-{profiler}.txt"]
    assert says in files[f"fit-{profiler}.txt"]
    assert "Profiler Report" not in capsys.readouterr().out
    assert all(torch.equal(value, weights(unprofiled)[name]) for name, value in weights(run).items())
    assert [path.name for path in own_directory.iterdir()] == ["run"]


def test_a_run_may_go_on_with_a_profiler_of_torch_from_within_an_epoch(
    unprofiled: RunDirectory, own_directory: Path
) -> None:
    run = experiment("trainer.max_epochs=2", "schedule=constant", "trainer.max_steps=24")
    config, words, changed = resume_config(run.path, ["trainer.profiler=pytorch", "trainer.max_steps=-1"])
    assert "trainer.profiler: nothing -> pytorch" in changed
    assert launch(prepare(config), words, resume=run.path) == 0
    assert "aten::" in (run.path / "profile" / "fit-pytorch.txt").read_text()
    assert all(torch.equal(value, weights(unprofiled)[name]) for name, value in weights(run).items())
    assert [path.name for path in own_directory.iterdir()] == ["run"]


def test_a_profiler_is_one_of_lightnings() -> None:
    with pytest.raises(ConfigError, match="profiler=xla: out of range; accepted: simple or advanced or pytorch, or n"):
        config_of("trainer.profiler=xla")
