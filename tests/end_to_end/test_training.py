"""What the defaults give a person who types nothing but `python train.py`, or an architecture's name."""

import csv
import json
import math
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import torch

from archs.catalog import EACH_EXPERIMENT, cost, stated
from convarium.config.compose import compose
from convarium.learn.checkpoint_file import read_checkpoint
from convarium.run.directory import RunDirectory
from convarium.run.launch import launch
from convarium.run.prepare import prepare
from convarium.trained.load import load_run
from processes import run, train

QUICK = 10_000_000  # multiply-adds up to which two epochs take seconds on one core
# epochs of few steps for the others
FEW = ("trainer.limit_train_batches=16", "trainer.limit_val_batches=1", "trainer.limit_test_batches=2")
VAST = 200_000_000  # parameters beyond which a batch of 32 needs more memory than 24 GB: the same steps, of parts of it
IN_PARTS = ("trainer.accumulate_grad_batches=8", "trainer.limit_train_batches=128", "data.eval_batch_size=8")


@pytest.fixture(scope="module")
def default_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    folder = tmp_path_factory.mktemp("defaults")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        code = run(train, "threads=1", log=folder / "log")
    assert code == 0, (folder / "log").read_text()
    (found,) = folder.glob("runs/*/*")
    return RunDirectory.open(found)


def test_the_default_run_tests_right_97_times_of_100(default_run: RunDirectory) -> None:
    result = default_run.result()
    assert result["status"] == "ok"
    assert result["metrics"]["test/acc1"] >= 0.97


def test_the_default_run_takes_less_than_a_minute(default_run: RunDirectory) -> None:
    assert default_run.result()["wall_seconds"] < 60


def test_a_run_leaves_exactly_the_files_of_its_directory(default_run: RunDirectory) -> None:
    files = {str(path.relative_to(default_run.path)) for path in default_run.path.rglob("*") if path.is_file()}
    assert files == {
        ".lock",
        "config.yaml",
        "overrides.yaml",
        "metrics.csv",
        "gradient_flow.csv",
        "result.json",
        "train.log",
        "weights.safetensors",
        "predictions.npz",
        "report.html",
        "checkpoints/last.ckpt",
        "checkpoints/best.ckpt",
        "figures/learning_curves.png",
        "figures/confusion_matrix.png",
        "figures/training_images.png",
        "figures/gradient_flow.png",
        "figures/worst_mistakes.png",
    }
    assert {path.name for path in default_run.path.parents[2].iterdir()} == {"runs", "log"}


def test_metrics_have_the_documented_names(default_run: RunDirectory) -> None:
    with default_run.metrics_file.open() as file:
        names = set(next(csv.reader(file)))
    assert names == {
        *("step", "epoch", "lr", "grad_norm", "clipped_share", "images_per_second", "data_wait"),
        *("train/loss_step", "train/loss", "train/acc1", "train/acc5", "train/images"),
        *("val/loss", "val/acc1", "val/acc5", "test/loss", "test/acc1", "test/acc5"),
        *("test/balanced_accuracy", "test/macro_f1"),
    }


def test_metrics_have_one_row_per_step_that_logged_in_order(default_run: RunDirectory) -> None:
    with default_run.metrics_file.open() as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert steps == sorted(set(steps))
    assert steps[-1] == default_run.result()["steps"]


def test_the_result_has_exactly_the_documented_keys(default_run: RunDirectory) -> None:
    result = json.loads(default_run.result_file.read_text())
    documented = (
        "status error notes metrics params macs images images_per_second wall_seconds cpu_seconds epochs"
        " steps saved_steps total_steps seed config_hash git versions device trackers host pid heartbeat"
    )
    assert result.keys() == {*documented.split()}
    assert (result["error"], result["params"], result["macs"], result["seed"]) == (None, 61706, 416520, 1)
    assert result["images_per_second"] > 0
    assert result["total_steps"] == result["steps"] > 0
    assert {"test/acc1", "val/acc1", "best/val/acc1"} <= result["metrics"].keys()


def test_a_trained_network_comes_back_from_its_folder(default_run: RunDirectory) -> None:
    net = load_run(default_run.path)
    assert not net.training
    assert net(torch.zeros(2, 1, 32, 32)).shape == (2, 10)


@pytest.mark.parametrize("arch", EACH_EXPERIMENT)
def test_an_architecture_with_defaults_learns_in_its_first_epochs(arch: str) -> None:
    words = [f"arch={arch}", "trainer.max_epochs=2", "trainer.accelerator=cpu", "callbacks=[]", "run_dir=run"]
    words += FEW if cost(arch) > QUICK else ()
    words += IN_PARTS if stated(arch).parameters > VAST else ()
    assert launch(prepare(compose(words).config), words) == 0
    run = RunDirectory.open("run")
    metrics = run.result()["metrics"]
    if cost(arch) > QUICK:  # 32 steps: on the way; VGG-16 and VGG-19, for two, still guess, at a falling loss
        with run.metrics_file.open() as file:
            first, second = (float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"])
        assert second < first
    else:
        assert metrics["train/loss"] < math.log(10)
        assert metrics["test/acc1"] > 0.1


def test_all_trackers_at_once_take_a_whole_run(own_directory: Path) -> None:
    log = own_directory / "log"
    words = ("arch=mlp", "data=synthetic", "trainer.max_epochs=2", "trainer.log_every_n_steps=5", "run_dir=run")
    loggers = ("logger=[tensorboard,wandb,mlflow]", "logger.wandb.mode=offline")
    assert run(train, *words, *loggers, log=log) == 0, log.read_text()
    assert "given up" not in log.read_text()
    assert log.read_text().count("wandb: offline; upload it later with: wandb sync") == 1
    kept = read_checkpoint(Path("run/checkpoints/last.ckpt"))["trackers"]
    assert "Wandb" in kept  # MLflow chooses an id of its own, when it has started
    assert list(Path("run").rglob("events.out.tfevents.*"))
    assert list(Path("run").rglob("*.wandb"))
    with closing(sqlite3.connect("run/mlflow.db")) as found:
        assert found.execute("select status from runs").fetchall() == [("FINISHED",)]
