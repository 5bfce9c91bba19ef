"""Whole experiments in this process, small enough to run in a moment."""

import csv
from collections.abc import Sequence
from typing import Any

from convarium.config.compose import Composed, Conf
from convarium.learn.checkpoint_file import read_checkpoint
from convarium.run.directory import RunDirectory
from convarium.run.launch import launch
from convarium.run.prepare import adapt_to_weights, prepare

# 512 images to train on, 128 to validate and 128 to test with: 16 steps an epoch
SMALL = (
    "arch=mlp",
    "data=synthetic",
    "data.channels=1",
    "data.image_size=8",
    "batch_size=32",
    "trainer.accelerator=cpu",
    "trainer.max_epochs=1",
    "trainer.log_every_n_steps=1",
    "callbacks=[checkpoint]",
    "threads=1",
)


def compose(words: Sequence[str]) -> Composed:
    """An experiment as the command line composes it: with what its published weights ask for."""
    conf = Conf()
    return adapt_to_weights(conf, conf.compose(words))


def config_of(*overrides: str) -> dict[str, Any]:
    """The resolved config of SMALL, changed by overrides."""
    return compose(_words(overrides)).config


def experiment(*overrides: str, folder: str = "run", code: int | None = 0) -> RunDirectory:
    """Run SMALL, changed by overrides, here; its run directory. code: how it ends; None: as it will."""
    words = [*_words(overrides), f"run_dir={folder}"]
    ended = launch(prepare(compose(words).config), words)
    assert code is None or ended == code
    return RunDirectory.open(folder)


def rows(run: RunDirectory, name: str) -> list[float]:
    """What metrics.csv has under a name, in order."""
    with run.metrics_file.open(newline="", encoding="utf-8") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def weights(run: RunDirectory) -> dict[str, Any]:
    """The network's weights in last.ckpt."""
    return {name: value for name, value in read_checkpoint(run.last)["state_dict"].items() if name.startswith("net.")}


def _words(overrides: tuple[str, ...]) -> list[str]:
    mlp = not any(word.startswith("arch=") for word in overrides)
    return [*SMALL, *(["arch.hidden=[16]"] if mlp else []), *overrides]
