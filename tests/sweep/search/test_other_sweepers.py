"""Searches that are driven by others: Hydra's sweepers that ask what a point is worth, and the agents of W&B."""

import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.types import RunMode
from omegaconf import open_dict

from convarium.config.catalog import conf_dir
from convarium.config.compose import Conf
from convarium.config.rules import measured_figures
from convarium.sweep import hydra_launch
from convarium.sweep.local.processes import Processes
from convarium.sweep.sites import ThisMachine
from experiments import SMALL
from hydra_plugins.convarium.sweeping import LocalLauncher
from sweeps import board

TWICE = ("norm=none", "trainer.max_epochs=2")
WANDB = sorted((conf_dir() / "wandb").glob("*.yaml"))


@pytest.fixture
def launcher(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> LocalLauncher:
    """Ours, as Hydra hands it to a sweeper of somebody else's; its jobs are started by a supervisor that is there."""

    @contextmanager
    def site_of(*_: Any) -> Iterator[ThisMachine]:
        yield ThisMachine(processes)

    monkeypatch.setattr(hydra_launch, "site_of", site_of)
    monkeypatch.setattr(hydra_launch, "worst_code", 0)
    conf = Conf()
    config = conf.loader.load_configuration("train", [], RunMode.MULTIRUN)
    with open_dict(config):
        config.hydra.job.config_name = "train"
    made = LocalLauncher()
    made.hydra_context, made.config = type("Context", (), {"config_loader": conf.loader})(), config  # type: ignore[assignment]
    return made


def ask(launcher: LocalLauncher, points: Sequence[str], *words: str) -> list[Any]:
    """What a sweeper is told that the points are worth."""
    every = [*SMALL, "arch.hidden=[16]", "sweep.name=s", *words]
    base = list({word.partition("=")[0]: word for word in every}.values())  # of two the later, as sweepers have it
    with open_dict(launcher.config):
        launcher.config.hydra.overrides.task = base  # the command
    return [each.return_value for each in launcher.launch([[*base, point] for point in points], 0)]


def test_a_sweeper_that_asks_is_told_what_each_point_is_worth(launcher: LocalLauncher) -> None:
    worth = ask(launcher, ["optimizer.lr=0.1", "optimizer.lr=0.001"])
    worth += ask(launcher, ["optimizer.lr=0.01"])  # it has learned, and asks again
    rows = {float(row["optimizer.lr"]): float(row["best/val/acc1"]) for row in board()}
    assert worth == [rows[0.1], rows[0.001], rows[0.01]]
    assert ask(launcher, ["optimizer.lr=0.01"], "search.objective=[val/acc1,params]") == [[rows[0.01], 1210]]


def test_a_job_that_fails_is_worth_nan_and_the_sweeper_goes_on(
    trusting: Callable[[str], None], launcher: LocalLauncher
) -> None:
    trusting("misbehaving")
    worth = ask(launcher, ["norm._target_=misbehaving.Raises", "norm._target_=misbehaving.Fine"], *TWICE)
    assert math.isnan(worth[0])
    assert 0 < worth[1] <= 1
    assert hydra_launch.worst_code == 1  # with which the command ends


def agent_words(file: Path, run: int) -> list[str]:
    """What an agent of W&B runs: the command of the file, with the parameters of its run in their places."""
    sweep = yaml.safe_load(file.read_text())
    pick = -1 if run else 0
    point = {
        name: spec["values"][pick] if "values" in spec else spec["max" if run else "min"]
        for name, spec in sweep["parameters"].items()
    }
    given = {"${env}": ["/usr/bin/env"], "${interpreter}": [sys.executable], "${program}": [sweep["program"]]}
    given["${args_no_hyphens}"] = [f"{name}={value}" for name, value in point.items()]
    return [word for part in sweep["command"] for word in given.get(part, [part])]


@pytest.mark.parametrize("run", [0, 1])
@pytest.mark.parametrize("file", WANDB, ids=lambda file: file.stem)
def test_what_an_agent_of_wandb_runs_is_one_of_our_commands(file: Path, run: int) -> None:
    env, interpreter, program, *words = agent_words(file, run)
    assert (env, interpreter, program) == ("/usr/bin/env", sys.executable, "train.py")
    composed = Conf().compose(words)
    assert "wandb" in composed.config["logger"]
    metric = yaml.safe_load(file.read_text())["metric"]
    assert metric["name"] in measured_figures(composed.config)
    assert not re.search(r"\$\{", " ".join(words))


def test_every_sweep_of_wandb_says_what_it_is_and_how_it_is_begun() -> None:
    assert len(WANDB) >= 2
    for file in WANDB:
        assert f"wandb sweep conf/wandb/{file.name}" in file.read_text().partition("\n")[0]


@pytest.mark.slow
def test_an_agent_trains(own_directory: Path) -> None:
    (file,) = (file for file in WANDB if file.stem == "normalization")
    words = agent_words(file, 0)
    words[2] = str(conf_dir().parent / words[2])
    environment = {**os.environ, "WANDB_MODE": "offline", "WANDB_RUN_ID": "agent123", "WANDB_SWEEP_ID": "sweep123"}
    tiny = ("trainer.max_epochs=1", "run_dir=run", "callbacks=[checkpoint]", "trainer.accelerator=cpu")
    subprocess.run([*words, *tiny], env=environment, check=True, timeout=300)
    assert list(Path("run").glob("wandb/offline-run-*-agent123"))
