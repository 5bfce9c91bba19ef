"""From the keys under `test` to the views that a test shows of each picture."""

from typing import Any

from convarium.learn.views import Views, choose_views

KEYS = ("views", "dense", "scales", "flip")
"""The keys under `test` that say what is shown."""


def views_of(config: dict[str, Any], *, ranks: int) -> Views | None:
    """The views that a resolved config tests with; None: the image of one crop."""
    data = config["data"]
    return choose_views(
        **{name: value for name, value in config["test"].items() if name in KEYS},
        image_size=data["image_size"],
        crop_share=data.get("crop_share", 1.0),
        at_once=max(1, data["eval_batch_size"] // ranks),
    )


def in_words(views: Views | None) -> str:
    """For result.json and its like."""
    return "1 crop" if views is None else str(views)
