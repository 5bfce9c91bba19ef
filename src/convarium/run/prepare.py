"""What is known about an experiment before it starts: one value, `Prepared`. No torch until there is need of it."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from convarium.config.compose import Composed, Conf
from convarium.config.instantiate import build
from convarium.config.rules import check_batch_divides, directed
from convarium.config.targets import find_target, targets
from convarium.errors import ConfigError
from convarium.learn.lengths import TrainingLength
from convarium.machine import threads_of
from convarium.out_of_memory import refused
from convarium.run.devices import Placement, Preflight

if TYPE_CHECKING:
    from convarium.data.module import ImageData
    from convarium.learn.averaging import Rule
    from convarium.learn.losses import ClassificationLoss
    from convarium.learn.schedules import Schedule
    from convarium.learn.views import Views
    from convarium.run.pretrained import Opened


@dataclass(frozen=True)
class Prepared:
    """An experiment, checked as far as it can be without leaving a trace, and what was built and read on the way."""

    config: dict[str, Any]
    """Resolved; its `threads` are decided."""
    preflight: Preflight
    """Where it computes, and how large the network is."""
    data: "ImageData"
    """Training and validation are read."""
    length: TrainingLength
    left_out: int
    """Training images that an epoch leaves out, because they do not fill a batch."""
    loss: "ClassificationLoss"
    schedule: "Schedule"
    average: "Rule | None"
    views: "Views | None"
    """What the test shows of a picture; None: the image of one crop."""
    pretrained: "Opened | None" = None
    """The weights that `weights` names, if they are read already."""

    @property
    def placement(self) -> Placement:
        return self.preflight.placement


def adapt_to_weights(conf: Conf, composed: Composed) -> Composed:
    """The experiment with what its published weights ask for beside what it asks for itself; reads them.

    Raises ConfigError for weights that cannot be read, do not fit, or contradict what was asked for.
    """
    if not composed.config.get("weights"):
        return composed
    from convarium.run.pretrained import adapt

    return adapt(conf, composed)


def prepare(
    config: dict[str, Any],
    *,
    preflight: Preflight | None = None,
    data: "ImageData | None" = None,
    pretrained: "Opened | None" = None,
    elsewhere: bool = False,
) -> Prepared:
    """Do all that comes before the run directory: network, device, loss, data, lengths. Raises ConfigError.

    preflight, data, pretrained: what is known already, which is not looked at again.
    elsewhere: it will run on another machine, of whose devices nothing is known here.
    """
    from convarium.observe.tracker import require
    from convarium.run.preflight import check_last_batch, check_loss
    from convarium.run.preflight import preflight as check

    for key, node in targets(config):  # what is built only when the run directory is there is looked at now
        find_target(node, key)
    for name, node in config["logger"].items():
        if package := getattr(find_target(node, f"logger.{name}"), "package", ""):
            require(package)
    loss: ClassificationLoss = build(config["loss"], "loss")
    if preflight is None:
        preflight = check(config, loss, elsewhere=elsewhere)
    else:
        check_loss(config, loss)
    at, accumulate = preflight.placement, config["trainer"]["accumulate_grad_batches"]
    check_batch_divides(config["batch_size"], at.devices, at.nodes, accumulate)
    config = {**config, "threads": config["threads"] or threads_of(at.devices)}
    data = data or read_data(config)
    if config["batch_size"] > data.num_train:
        raise ConfigError(f"batch_size={config['batch_size']}: more than the {data.num_train:,} training images")
    try:
        loss.balance(data.class_counts)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    epoch = data.epoch_size(at.ranks * accumulate)
    length = training_length(config, data, epoch.steps)
    last = data.num_train % config["batch_size"] - epoch.remainder
    if last and length.steps_per_epoch == epoch.steps <= length.total_steps:  # else it is not trained on
        check_last_batch(config, at, last)
    check_limits(config, data, at.ranks)
    schedule: Schedule = build(directed(config["schedule"], config, "schedule"), "schedule")
    average: Rule | None = build(config["average"], "average")
    try:
        schedule.check(length)
        if average is not None:
            average.check(length)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    views = views_of(config, ranks=at.ranks)
    return Prepared(config, preflight, data, length, epoch.remainder, loss, schedule, average, views, pretrained)


def read_data(config: dict[str, Any]) -> "ImageData":
    """The experiment's data, read as far as training needs it. Raises ConfigError where it cannot be, or its test split
    is not as it should be."""
    try:
        with refused("data"):
            data: ImageData = build(config["data"], "data")
            data.setup("fit")
            data.check_test()
    except (ValueError, OSError) as error:
        raise ConfigError(str(error)) from error
    return data


def check_limits(config: dict[str, Any], data: "ImageData", ranks: int) -> None:
    """Raise ConfigError for a share of less than one batch to validate on or to test on."""
    for split in ("val", "test"):
        try:
            data.check_limit(split, config["trainer"][f"limit_{split}_batches"], ranks)
        except ValueError as error:
            raise ConfigError(str(error)) from error


def training_length(config: dict[str, Any], data: "ImageData", steps: int) -> TrainingLength:
    """The length of a run whose whole epochs have so many steps. Raises ConfigError if it has none, or for a validation
    that does not happen.
    """
    trainer = config["trainer"]
    accumulate = trainer["accumulate_grad_batches"]
    micro_batches = steps * accumulate
    limit = trainer["overfit_batches"] or trainer["limit_train_batches"]
    if trainer["fast_dev_run"]:
        limit = int(trainer["fast_dev_run"])
    micro_batches = min(micro_batches, limit) if isinstance(limit, int) else int(micro_batches * limit)
    for group in ("stop", "schedule"):
        watched = (config[group] or {}).get("monitor", "")
        if watched.startswith("val/") and data.num_val == 0:
            raise ConfigError(
                f"{group}.monitor={watched}: there are no validation images; accepted: data.val_fraction > 0"
            )
    interval = trainer["val_check_interval"]
    if isinstance(interval, int) and interval > micro_batches and data.num_val and trainer["limit_val_batches"]:
        raise ConfigError(
            f"trainer.val_check_interval={interval}: more than the {micro_batches} micro-batches of an epoch"
        )
    if isinstance(limit, float) and micro_batches % accumulate:
        name = "overfit_batches" if trainer["overfit_batches"] else "limit_train_batches"
        raise ConfigError(
            f"trainer.{name}={limit}: leaves {micro_batches} micro-batches, which do not divide by"
            f" trainer.accumulate_grad_batches={accumulate}"
        )
    per_epoch = math.ceil(micro_batches / accumulate)
    if per_epoch == 0:
        name = "overfit_batches" if trainer["overfit_batches"] else "limit_train_batches"
        raise ConfigError(f"trainer.{name}={limit}: leaves no batch to train on")
    epochs, most = trainer["max_epochs"], trainer["max_steps"]
    if trainer["fast_dev_run"]:
        epochs, most = 1, -1
    return TrainingLength(per_epoch * epochs if most == -1 else min(most, per_epoch * epochs), per_epoch)


def views_of(config: dict[str, Any], *, ranks: int) -> "Views | None":
    """The views that a resolved config tests with; None: the image of one crop."""
    from convarium.learn.views import choose_views

    data = config["data"]
    return choose_views(
        **{name: value for name, value in config["test"].items() if name not in ("weights", "shift")},
        image_size=data["image_size"],
        crop_share=data.get("crop_share", 1.0),
        at_once=max(1, data["eval_batch_size"] // ranks),
    )
