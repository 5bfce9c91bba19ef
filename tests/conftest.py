"""Every test gets a directory and a seed of its own, and no address but loopback."""

import os
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from convarium.run.directory import RunDirectory

os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers on two cores
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DIR", "CONVARIUM_TRUST"):
    os.environ.pop(name, None)

LONG = (
    "end_to_end",
    "sweep",
    "test_own_folder.py",
    "run",
    "trained",
    "observe",
    "test_cli.py",
    "test_notebooks.py",
    "commands",
)
LOOPBACK = ("127.", "::1", "localhost", "0.0.0.0")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, so that no worker waits for another at the end."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(here).parts[0] not in LONG)


@pytest.fixture(autouse=True)
def own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The test's own empty directory, which is also the current one; what is decoded is kept in one beside it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CONVARIUM_CACHE", f"{tmp_path}.cache")
    return tmp_path


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets CONVARIUM_TRUST as if it had been so when the program began."""
    from convarium.config.trust import trust

    def set_trust(value: str) -> None:
        monkeypatch.setenv("CONVARIUM_TRUST", value)
        monkeypatch.setattr(sys, "path", list(sys.path))
        trust.cache_clear()

    return set_trust


class Outcome(NamedTuple):
    """What a command left on its way out."""

    code: object
    out: str
    err: str


@pytest.fixture
def convarium(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run a command in this process."""
    from convarium.cli import main

    def run(*words: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["convarium", *map(str, words)])
        with pytest.raises(SystemExit) as end:
            main()
        return Outcome(end.value.code, *capsys.readouterr())

    return run


def forget_trust() -> None:
    if (module := sys.modules.get("convarium.config.trust")) is not None:
        module.trust.cache_clear()


@pytest.fixture(autouse=True)
def own_trust() -> Iterator[None]:
    """What the environment admits is read once a program: here, once a test."""
    forget_trust()
    yield
    forget_trust()


@pytest.fixture(autouse=True)
def own_seed() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def loopback_only(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections to anywhere else; a test marked `network` may make them."""
    if request.node.get_closest_marker("network"):
        return
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: object) -> None:
        if isinstance(address, tuple) and not str(address[0]).startswith(LOOPBACK):
            raise OSError(f"tests do not reach {address[0]}")
        connect(self, address)  # type: ignore[arg-type]

    monkeypatch.setattr(socket.socket, "connect", guarded)


# runs that the tests of several verbs share; nothing writes to them


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory: pytest.TempPathFactory) -> "RunDirectory":
    """LeNet-5 on digits."""
    from runs import trained

    return trained(tmp_path_factory.mktemp("digits") / "run", "trainer.max_epochs=2")


@pytest.fixture(scope="session")
def averaged_run(tmp_path_factory: pytest.TempPathFactory) -> "RunDirectory":
    """LeNet-5 on digits with averaged weights, of which the last are not the best."""
    from convarium.learn.checkpoint_file import read_checkpoint
    from runs import trained

    worse = ("trainer.max_epochs=3", "optimizer.lr=0.03", "schedule=constant", "seed=2")  # again in its third epoch
    run = trained(tmp_path_factory.mktemp("averaged") / "run", "average=ema", "average.decay=0.9", *worse)
    assert read_checkpoint(run.best)["epoch"] < read_checkpoint(run.last)["epoch"]
    return run
