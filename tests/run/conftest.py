"""Runs that the tests of the verbs share; nothing writes to them."""

import pytest

from convarium.run.checkpoint_file import read_checkpoint
from convarium.run.record import RunDirectory
from runs import trained


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """LeNet-5 on digits."""
    return trained(tmp_path_factory.mktemp("digits") / "run", "trainer.max_epochs=2")


@pytest.fixture(scope="session")
def averaged_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """LeNet-5 on digits with averaged weights, of which the last are not validated and so not the best."""
    every_second = ("trainer.check_val_every_n_epoch=2", "trainer.max_epochs=3")
    run = trained(tmp_path_factory.mktemp("averaged") / "run", "average=ema", "average.decay=0.9", *every_second)
    assert read_checkpoint(run.best)["epoch"] < read_checkpoint(run.last)["epoch"]
    return run
