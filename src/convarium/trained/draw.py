"""The figures of a run drawn again, out of its record and, for those of the test, by the test once more."""

import logging
from pathlib import Path

from convarium.config.instantiate import build
from convarium.config.keys import EVALUATE
from convarium.data.module import ImageData, Samples
from convarium.errors import ConfigError, RunError
from convarium.observe.figures import Figures
from convarium.observe.inside.heat_maps import draw_table
from convarium.observe.layer_table import TABLES
from convarium.run.directory import RunDirectory
from convarium.run.fit import build_callbacks
from convarium.run.resume import check_outward, read_config
from convarium.trained.evaluate import measure, prepare
from convarium.wording import one_line

log = logging.getLogger(__name__)


def draw(run: RunDirectory, *, weights: str = "final") -> list[Path]:
    """Draw the learning curves out of metrics.csv, training images, what happened inside out of its tables, and what
    `weights` do on the test split; the files. What cannot be drawn is a line of log."""
    config = read_config(run)
    check_outward(run, config, (), EVALUATE)
    callbacks = build_callbacks(config)
    figures = next((callback for callback in callbacks if isinstance(callback, Figures)), Figures())
    figures.folder = run.path / "figures"

    def samples(count: int, epochs: int) -> Samples:
        data: ImageData = build(config["data"], "data")
        data.setup("fit")
        return data.samples(count, epochs)

    figures.draw_training(run.path, callbacks, samples)
    notes = run.result().get("notes", [])
    for name in TABLES:
        figures.drawn += draw_table(run.path, name, notes)
    try:
        evaluation = prepare(run, weights=weights)
        measure(evaluation._replace(placement=evaluation.placement._replace(devices=1)), figures)
    except (ConfigError, RunError) as error:
        log.warning("figures: confusion_matrix.png and worst_mistakes.png not drawn (%s)", one_line(error))
    return figures.drawn
