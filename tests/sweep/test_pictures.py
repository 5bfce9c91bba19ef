"""The pictures of short jobs come after the last job, are the same as those of a run alone, and none is lost."""

import signal
from pathlib import Path

import pytest

from convarium.drawing import LEFT, is_left
from convarium.run.directory import RunDirectory
from convarium.sweep import run as sweep_run
from convarium.sweep.local.processes import Processes
from experiments import experiment
from sweeps import board, results, sweep

DRAWN = ["confusion_matrix.png", "learning_curves.png", "training_images.png", "worst_mistakes.png"]
FIGURES = ("callbacks=[checkpoint,figures]", "callbacks.figures.dpi=40", "arch.hidden=[16]")


def figures(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((run / "figures").iterdir())}


def test_pictures_are_drawn_after_the_last_job_as_a_run_alone_draws_them(
    processes: Processes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[list[bool]] = []
    draw = sweep_run.draw_pictures

    def stopped(runs: list[RunDirectory], *rest: object, **log: str) -> int:
        asked.append([is_left(run.path / "figures") for run in runs])
        return signal.SIGINT  # as if before the first of them

    monkeypatch.setattr(sweep_run, "draw_pictures", stopped)
    assert sweep(processes, *FIGURES, "seed=1,2") == 130
    assert {row["status"] for row in board()} == {"ok"}
    assert asked == [[True, True]]
    jobs = sorted(Path("sweeps/s/jobs").iterdir())
    assert [sorted(figures(job)) for job in jobs] == [[LEFT.format(name[:-4]) for name in DRAWN]] * 2
    assert b"data:image/png" not in (jobs[0] / "report.html").read_bytes()

    monkeypatch.setattr(sweep_run, "draw_pictures", draw)
    before = results()
    assert sweep(processes, *FIGURES, "seed=1,2") == 0
    assert results() == before  # nothing has run again
    assert [sorted(figures(job)) for job in jobs] == [DRAWN] * 2
    assert (jobs[0] / "report.html").read_bytes().count(b"data:image/png") == 2
    alone = experiment(*FIGURES, f"seed={RunDirectory.open(jobs[0]).config()['seed']}")
    assert figures(alone.path) == figures(jobs[0])


def test_a_job_with_a_tracker_draws_for_it_and_what_cannot_be_drawn_stops_no_other(
    processes: Processes, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = sweep_run.draw_pictures

    def spoiled(runs: list[RunDirectory], started: Processes, *, log: str) -> int:
        places = {len(run.config()["logger"]): run.path / "figures" for run in runs}
        assert {loggers: is_left(path) for loggers, path in places.items()} == {0: True, 1: False}
        (places[0] / LEFT.format("confusion_matrix")).write_bytes(b"half of it")
        return draw(runs, started, log=log)

    monkeypatch.setattr(sweep_run, "draw_pictures", spoiled)
    assert sweep(processes, *FIGURES, "logger=none,tensorboard") == 0
    jobs = {len(run.config()["logger"]): run.path for run in map(RunDirectory.open, Path("sweeps/s/jobs").iterdir())}
    assert sorted(figures(jobs[1])) == DRAWN
    assert sorted(figures(jobs[0])) == DRAWN[1:]
    assert "figures: confusion_matrix.png not drawn" in (jobs[0] / "train.log").read_text()
