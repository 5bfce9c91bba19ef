"""Which job is ended before its time, by the metrics.csv that it has written."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from convarium.run.directory import RunDirectory
from convarium.sweep.search.pruner import Pruner, epoch_values

CONFIG: dict[str, Any] = {"trainer": {"max_epochs": 9}, "schedule": {"warmup": 0}}


def write(name: str, values: Sequence[float | str], total_steps: int = 90) -> RunDirectory:
    """metrics.csv with one value an epoch."""
    run = RunDirectory(Path(name))
    run.path.mkdir(exist_ok=True)
    rows = [f"{10 * epoch + 9},{epoch},{value}" for epoch, value in enumerate(values)]
    run.metrics_file.write_text("\n".join(["step,epoch,val/acc1", *rows]) + "\n")
    run.result_file.write_text(json.dumps({"status": "running", "total_steps": total_steps}))
    return run


def curve(end: float, epochs: int) -> list[float]:
    return [end * (1 - 0.5**epoch) for epoch in range(1, epochs + 1)]


def epochs_of(pruner: Pruner, name: str, end: float, config: dict[str, Any] = CONFIG) -> int:
    """Epochs that a job has whose accuracy comes to `end`."""
    for epochs in range(1, 10):
        if pruner.prunes(name, write(name, curve(end, epochs)), config):
            pruner.end(name, "pruned", None)
            return epochs
    pruner.end(name, "ok", end)
    return 9


@pytest.mark.parametrize("name", ["asha", "median", "hyperband"])
@pytest.mark.parametrize("floor", [1, 2, 4])
def test_no_job_is_pruned_before_the_floor_and_bad_ones_are(name: str, floor: int) -> None:
    pruner = Pruner(name, "val/acc1", "max", floor=floor, config=CONFIG)
    good = [epochs_of(pruner, f"good-{number}", 0.9 + number / 100) for number in range(6)]
    bad = [epochs_of(pruner, f"bad-{number}", 0.3 - number / 100) for number in range(12)]
    assert min(good) == 9 if name == "median" else max(good) == 9
    assert min(bad) >= floor
    assert sum(bad) < 0.7 * 12 * 9
    assert min(bad) < 9


def test_the_warm_up_is_over_before_the_floor_begins() -> None:
    config = {**CONFIG, "schedule": {"warmup": "30%"}}  # 2.7 epochs: 3, and 2 of the floor
    pruner = Pruner("asha", "val/acc1", "max", floor=2, config=config)
    epochs_of(pruner, "good", 0.9, config)
    assert epochs_of(pruner, "bad", 0.1, config) == 5
    in_steps = {**CONFIG, "schedule": {"warmup": "25 steps"}}  # of 10 an epoch
    assert Pruner("asha", "val/acc1", "max", floor=2, config=in_steps)._floor_of(in_steps, {"total_steps": 90}) == 5


def test_where_lower_is_better_the_higher_one_is_pruned() -> None:
    pruner = Pruner("asha", "val/acc1", "min", floor=1, config=CONFIG)
    assert [epochs_of(pruner, name, end) for name, end in (("a", 0.2), ("b", 0.9))] == [9, 1]


def test_a_table_that_has_not_changed_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    pruner = Pruner("asha", "val/acc1", "max", floor=1, config=CONFIG)
    epochs_of(pruner, "good", 0.9)
    run = write("bad", curve(0.1, 1))
    assert pruner.prunes("bad", run, CONFIG)
    monkeypatch.setattr("convarium.sweep.search.pruner.epoch_values", None)
    assert not pruner.prunes("bad", run, CONFIG)


def test_a_resumed_job_is_not_held_against_epochs_that_it_takes_again() -> None:
    pruner = Pruner("median", "val/acc1", "max", floor=1, config=CONFIG)
    for number in range(5):
        epochs_of(pruner, f"good-{number}", 0.9)
    assert not pruner.prunes("late", write("late", [0.1, 0.9]), {**CONFIG, "trainer": {"max_epochs": 2}})
    assert not pruner.prunes("late", write("late", [0.1]), CONFIG)


def test_values_that_are_no_numbers_are_left_out() -> None:
    assert list(epoch_values(write("a", [0.5, "nan", "inf", "", "x", 0.7]), "val/acc1")) == [(1, 0.5), (6, 0.7)]
    assert list(epoch_values(write("a", [0.5]), "val/loss")) == []
    assert list(epoch_values(RunDirectory(Path("nowhere")), "val/acc1")) == []
