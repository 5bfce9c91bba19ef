"""Run directories for the verbs that read them: trained for a moment, or not at all."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from convarium.config.compose import compose
from convarium.config.instantiate import build
from convarium.run.directory import RunDirectory
from convarium.run.launch import launch
from convarium.run.prepare import prepare

QUICK = ("trainer.accelerator=cpu", "threads=1", "callbacks=[checkpoint]")


def trained(folder: Path, *overrides: str) -> RunDirectory:
    """The directory of an experiment that was run in this process."""
    words = [*QUICK, *overrides, f"run_dir={folder}"]
    assert launch(prepare(compose(words).config), words) == 0
    return RunDirectory.open(folder)


def untrained(folder: Path, *overrides: str) -> RunDirectory:
    """The directory of a run whose tested weights are those it would have begun with."""
    words = [*QUICK, *overrides]
    config = compose(words).config
    run = RunDirectory(folder)
    run.make(config, words)
    torch.manual_seed(config["seed"])
    save_file(build(config["arch"], "arch").state_dict(), run.weights)
    return run
