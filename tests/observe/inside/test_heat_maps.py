"""Steps are written below a picture at regular distances, and its heading names the run."""

from itertools import pairwise
from pathlib import Path

import pytest

from convarium.observe.inside.heat_maps import activation_figure, gradient_figure
from convarium.observe.layer_table import BINS, Row, name_of

DOUBLED = [1, 2, 4, 8, 16, 32]


def gradient_rows(steps: list[int]) -> list[Row]:
    quantities = {"gradient": 1.0, "update_to_weight": 0.001, "dead": 0.5}
    return [Row(step, layer, quantities) for step in steps for layer in ("first", "second")]


@pytest.mark.parametrize(
    ("steps", "every"),
    [
        ([1], 1),
        ([*DOUBLED, 50], 1),
        ([*DOUBLED, 50, 100, 150, 200], 1),
        ([*DOUBLED, *range(50, 1000, 50)], 3),
        ([*DOUBLED, *range(50, 60000, 50)], None),
    ],
)
def test_every_nth_column_is_named_from_the_first_on_and_the_names_stay_apart(
    steps: list[int], every: int | None
) -> None:
    figure = gradient_figure(gradient_rows(steps), "a run")
    figure.canvas.draw()
    for axes in figure.axes[::2]:  # every second is the key of colors
        labels = axes.get_xticklabels()
        places = [label.get_position()[0] for label in labels]
        gaps = {after - before for before, after in pairwise(places)}
        assert places[0] == 0.5
        assert len(gaps) <= 1
        assert every is None or gaps in (set(), {every})
        assert every is not None or 4 <= len(labels) <= 8
        boxes = [label.get_window_extent() for label in labels]
        assert all(left.x1 + 3 < right.x0 for left, right in pairwise(boxes))


def test_the_histogram_keeps_its_ticks_and_the_heading_names_the_run() -> None:
    quantities = dict.fromkeys(["mean", "spread", "saturated", "shift", *BINS], 0.5)
    figure = activation_figure([Row(step, "norm", quantities) for step in (1, 2)], "mlp-digits")
    histogram = figure.axes[-2]
    assert [label.get_text() for label in histogram.get_xticklabels()] == ["-4", "-2", "0", "2", "4"]
    assert [text.get_text() for text in figure.texts] == ["mlp-digits"]


def test_a_run_is_called_by_its_config_or_else_by_its_folder(tmp_path: Path) -> None:
    assert name_of(tmp_path) == tmp_path.name
    (tmp_path / "config.yaml").write_text("name: mlp-digits\n")
    assert name_of(tmp_path) == "mlp-digits"
