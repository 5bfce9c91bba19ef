"""SIGKILL at any moment, while testing, drawing and writing too: what goes on ends as the run that nobody disturbed."""

import os
import random
import signal
import time
from pathlib import Path

import pytest
from PIL import Image

from convarium.run.directory import RunDirectory
from end_to_end.test_resume import EXPERIMENT, assert_as_undisturbed
from processes import run, start, train
from sweeps import processes_below

pytestmark = pytest.mark.slow

WATCHED = ("callbacks=[checkpoint,figures,gradient_flow,activations]", "callbacks.gradient_flow.every_n_steps=3")
WORDS = (*EXPERIMENT, *WATCHED)
RANKS = {
    "one process": (),
    "two ranks": ("trainer.devices=2", "trainer.accelerator=cpu", "trainer.accumulate_grad_batches=1"),
}


@pytest.fixture(scope="module", params=RANKS)
def undisturbed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """A whole run, and the seconds that one takes."""
    parent = tmp_path_factory.mktemp("whole")
    for name in ("first", "second"):  # the first has imports to wait for
        began, log = time.monotonic(), parent / "log"
        assert run(train, *WORDS, *RANKS[request.param], f"run_dir={parent / name}", log=log) == 0, log.read_text()
    return parent / "first", time.monotonic() - began


def killed(words: list[str], log: Path, seconds: float) -> bool:
    """Start, and kill one of the processes at a moment within so many seconds; whether there was one to kill."""
    process = start(train, *words, log=log)
    process.join(random.uniform(0, seconds))
    alive = process.is_alive()
    if alive:
        victims = [process.pid, *processes_below(process.pid or 0)]
        os.kill(random.choice(victims) or 0, signal.SIGKILL)
    process.join(120)
    assert not process.is_alive(), log.read_text()
    return alive


@pytest.mark.parametrize("seed", range(8))
def test_however_often_it_is_killed_a_run_ends_as_if_it_had_not_been(
    seed: int, undisturbed: tuple[Path, float], own_directory: Path, request: pytest.FixtureRequest
) -> None:
    random.seed(seed)
    (whole, seconds), folder, log = undisturbed, own_directory / "run", own_directory / "log"
    ranks = RANKS[next(name for name in RANKS if name in request.node.name)]
    kills = 0

    def words() -> list[str]:
        return [f"resume={folder}"] if folder.exists() else [*WORDS, *ranks, f"run_dir={folder}"]

    while kills < 4 and killed(words(), log, seconds):
        kills += 1
    if RunDirectory(folder).result().get("status") != "ok":
        assert run(train, *words(), log=log) == 0, log.read_text()
    print(f"{kills} kills")
    assert_as_undisturbed(folder, whole)
    for name in ("gradient_flow.csv", "activations.csv"):
        assert (folder / name).read_text() == (whole / name).read_text()
    drawn = sorted(path.name for path in (whole / "figures").iterdir())
    assert sorted(path.name for path in (folder / "figures").iterdir()) == drawn
    for name in drawn:
        Image.open(folder / "figures" / name).verify()
    left = {path.name for path in folder.rglob("*") if path.is_file() and path.name.endswith((".tmp", ".part"))}
    assert not left
