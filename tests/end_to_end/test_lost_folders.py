"""A run whose folder goes, or whose current folder is gone: one line, and nothing made anew."""

import os
import shutil
from pathlib import Path

import pytest

from processes import run, train

EXPERIMENT = (
    *("arch=mlp", "data=synthetic", "data.channels=1", "data.image_size=8", "trainer.accelerator=cpu", "threads=1"),
    *("trainer.max_epochs=3", "run_dir=run"),
)


def train_that_loses(how: str, at: str, *words: str) -> int:
    """Train, and have the folder of the run deleted or moved meanwhile."""
    from convarium.learn.learner import Learner

    own, calls = getattr(Learner, at), []

    def losing(*arguments: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            shutil.rmtree("run") if how == "deleted" else shutil.move("run", "elsewhere")
        return own(*arguments)

    setattr(Learner, at, losing)
    return train(*words)


@pytest.mark.parametrize("at", ["on_train_epoch_end", "on_test_epoch_end", "validation_step"])
@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_a_run_whose_folder_goes_fails_in_one_line_and_makes_no_other(how: str, at: str, own_directory: Path) -> None:
    errors = own_directory / "errors"
    code = run(train_that_loses, how, at, *EXPERIMENT, log=own_directory / "log", errors=errors)
    said = [line for line in errors.read_text().splitlines() if not line.startswith("figures: ")]
    assert said == [f"failed: {own_directory / 'run'}: the folder of the run is gone"]
    assert code == 1
    assert not Path("run").exists()


def train_without_a_folder(*words: str) -> int:
    Path("gone").mkdir()
    os.chdir("gone")
    os.rmdir("../gone")
    return train(*words)


def test_a_current_folder_that_is_gone_is_said_in_one_line(own_directory: Path) -> None:
    errors = own_directory / "errors"
    assert run(train_without_a_folder, *EXPERIMENT, log=own_directory / "log", errors=errors) == 2
    assert errors.read_text() == "error: the current folder is gone; cd to one that is there\n"
