"""Figures drawn again are those that the run has drawn."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convarium.run.directory import RunDirectory
from experiments import experiment

TRAINING, TEST = ["learning_curves.png", "training_images.png"], ["confusion_matrix.png", "worst_mistakes.png"]


def drawn(run: RunDirectory) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run.path / "figures").iterdir())}


def test_the_figures_are_those_of_the_run_bit_for_bit_and_nothing_else_changes(
    convarium: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("callbacks=[checkpoint,figures,gradient_flow]", "callbacks.figures.dpi=40", "callbacks.figures.worst=3")
    run = experiment(*words, "callbacks.gradient_flow.every_n_steps=4", "trainer.max_epochs=2", "stop=early")
    before = drawn(run)
    shutil.rmtree(run.path / "figures")
    capsys.readouterr()
    others = {path: path.stat().st_mtime_ns for path in run.path.rglob("*") if path.is_file()}
    names = [*TRAINING, "gradient_flow.png", *TEST]
    code, out, _ = convarium("figures", run.path)
    assert (code, out.splitlines()) == (0, [str(run.path / "figures" / name) for name in names])
    assert drawn(run) == before
    assert {path: time for path, time in others.items() if path.stat().st_mtime_ns != time} == {}


def test_a_run_without_the_callback_and_without_weights_has_the_figures_of_its_training(
    convarium: Callable[..., Any],
) -> None:
    run = experiment()
    run.weights.unlink()
    code, _, err = convarium("figures", run.path)
    assert (code, sorted(drawn(run))) == (0, TRAINING)
    assert err == (
        f"figures: confusion_matrix.png and worst_mistakes.png not drawn ({run.weights}: not there, the run is ok;"
        " there is weights=best and weights=last)\n"
    )
    assert convarium("figures", run.path, "weights=last").err == ""
    assert sorted(drawn(run)) == sorted(TRAINING + TEST)


def test_a_run_that_has_nothing_to_show_says_why_of_each(
    convarium: Callable[..., Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = experiment("data=folder", f"data.root={_photos(tmp_path)}", "data.channels=3", "batch_size=2")
    shutil.rmtree(tmp_path / "photos")
    run.metrics_file.unlink()
    capsys.readouterr()
    code, out, err = convarium("figures", run.path)
    assert (code, out) == (1, "")
    assert [line.split(" not drawn ")[0] for line in err.splitlines()] == [
        "figures: learning_curves.png",
        "figures: training_images.png",
        "figures: confusion_matrix.png and worst_mistakes.png",
    ]


def _photos(folder: Path) -> Path:
    from PIL import Image

    for label in ("cat", "dog"):
        (folder / "photos" / label).mkdir(parents=True)
        for number in range(5):
            Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(folder / "photos" / label / f"{number}.png")
    return folder / "photos"
