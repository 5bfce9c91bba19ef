"""A few real steps of an experiment: its network, optimizer, clip, precision and augmentation, on one device.

What watches, validates, averages, stops or writes down is left out; none of it has a part in a step.
"""

import copy
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch

from convarium.config.compose import Conf
from convarium.config.keys import row
from convarium.config.overrides import keys_of, readable
from convarium.data.image_files.files import BadFile
from convarium.errors import ConfigError, RunError
from convarium.learn.lengths import TrainingLength
from convarium.out_of_memory import refused
from convarium.run.console import quiet_lightning
from convarium.run.devices import Placement
from convarium.run.fit import Experiment
from convarium.run.lightning import ask_no_driver_per_step
from convarium.run.prepare import Prepared, adapt_to_weights, prepare


def prepared_from(words: Sequence[str], verb: str) -> Prepared:
    """The experiment of a command line, as `convarium train` prepares it. Raises ConfigError."""
    conf = Conf()
    composed = adapt_to_weights(conf, conf.compose(readable(words)))
    if composed.config["resume"] is not None:
        raise ConfigError(f"resume={composed.config['resume']}: {verb} begins anew; leave it out")
    return prepare(composed.config, pretrained=composed.pretrained)


def shortened(prepared: Prepared, steps: int, **changed: Any) -> Prepared:
    """The same experiment for so many optimizer steps on one device, with other top-level keys of its config.

    A batch is cut into as many micro-batches as its devices and `trainer.accumulate_grad_batches` have cut it into, so
    that each holds as many images as a device has at a time.
    """
    config, at = {**prepared.config, **changed}, prepared.placement
    data = copy.copy(prepared.data)  # what was read is shared
    data.batch_size = config["batch_size"]
    accumulate = at.ranks * config["trainer"]["accumulate_grad_batches"]
    limits = {"limit_val_batches": 0, "fast_dev_run": False, "max_time": None, "profiler": None}
    trainer = {**config["trainer"], **limits, "accumulate_grad_batches": accumulate, "strategy": "auto"}
    steps_per_epoch = prepared.length.steps_per_epoch
    if "batch_size" in changed:
        data.drop_last = True
        trainer |= {"limit_train_batches": 1.0, "overfit_batches": 0.0}
        steps_per_epoch = data.epoch_size(accumulate).steps
    elif isinstance(limit := trainer["limit_train_batches"], int) and not isinstance(limit, bool):
        trainer["limit_train_batches"] = limit * at.ranks  # micro-batches of each process
    trainer |= {"max_steps": steps, "max_epochs": -(-steps // steps_per_epoch), "log_every_n_steps": 1}
    config |= {"trainer": trainer, "stop": None, "logger": {}, "callbacks": {}, "run_dir": None} | changed
    preflight = prepared.preflight._replace(placement=Placement(at.accelerator, 1, 1))
    length = TrainingLength(steps, steps_per_epoch)
    return replace(prepared, config=config, preflight=preflight, data=data, length=length)


def train(experiment: Experiment, prepared: Prepared, start: Any = None) -> None:
    """Take the steps, from the checkpoint `start` if one is given.

    Raises ConfigError where memory does not suffice, Interrupted for a signal, KeyboardInterrupt for a second Ctrl-C.
    """
    ask_no_driver_per_step()
    batch = f"batch_size={prepared.config['batch_size']}"
    try:
        with experiment.stop.listening(), quiet_lightning(), refused(batch):
            experiment.trainer.fit(experiment.learner, datamodule=prepared.data, ckpt_path=start, weights_only=True)
    except BadFile as error:
        raise RunError(str(error)) from error
    except SystemExit as end:  # what Lightning makes of a KeyboardInterrupt
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from end
        raise


@contextmanager
def as_before(prepared: Prepared) -> Iterator[None]:
    """Restore at the end what a training changes in its process: random generators and the number of threads."""
    threads, on_gpu = torch.get_num_threads(), prepared.placement.accelerator == "cuda"
    with torch.random.fork_rng([torch.cuda.current_device()] if on_gpu else []):
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def rates(config: dict[str, Any]) -> dict[str, float]:
    """The learning rates of an optimizer by their keys; the first is `optimizer.lr`, which the others go along with."""
    names = [name for name in config["optimizer"] if name.endswith("lr") and row(f"optimizer.{name}")]
    return {f"optimizer.{name}": config["optimizer"][name] for name in sorted(names, key=lambda name: name != "lr")}


def command(words: Sequence[str], **changed: Any) -> str:
    """`convarium train` with these words, and with other values of some keys."""
    kept = [word for word, key in zip(words, keys_of(readable(words)), strict=True) if key not in changed]
    return shlex.join(["convarium", "train", *kept, *(f"{key}={value}" for key, value in changed.items())])


def objection(prepared: Prepared, words: Sequence[str], batch_size: int) -> str | None:
    """Why `convarium train` would refuse the same experiment with another batch size; None: it would not."""
    data = copy.copy(prepared.data)
    data.batch_size = batch_size
    others = [word for word, key in zip(words, keys_of(readable(words)), strict=True) if key != "batch_size"]
    try:
        config = Conf().compose(readable([*others, f"batch_size={batch_size}"])).config
        prepare(config, preflight=prepared.preflight, data=data)
    except ConfigError as error:
        return str(error)
    return None
