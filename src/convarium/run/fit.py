"""One experiment in one process (one rank of it): assemble, fit, test, record.

The loop, in the order in which things happen (a callback's name: who does something there):

    every rank runs the same config.yaml                                                       SameConfig
    a resumed run: weights, optimizer, random state, place in the epoch, out of last.ckpt
    for epoch in epochs:                                       the order of the samples is a hash of (seed, epoch)
        for micro_batch in data.train_dataloader():
            to the device, augment, normalize                                                  ImageData
            on_train_batch_start                               the clock of the wait stops     Throughput
            seed dropout by (seed, micro-batch number, rank)                                   Learner.training_step
            outputs = net(images);  loss;  count loss and accuracy
            (loss / accumulate).backward()
            if the gradients of a batch are complete:
                learning rate = optimizer's x schedule.factor(step)                            Learner
                clip the gradients
                optimizer.step()                                   measure the gradients now and then  GradientFlow
                every log_every_n_steps: log lr, train/loss_step, grad_norm, clipped_share
            on_train_batch_end                                 move the average                Averaging
                                                               log images_per_second, data_wait   Throughput
                                                               a line or the bar               Progress
                                                               result.json every 10 s          Heartbeat
                                                               last.ckpt if due; stop if told  Checkpoint
            if a validation is due (at the end of the epoch, unless said otherwise, and of the run):
                the average takes the place of the weights                                     Averaging
                for batch in data.val_dataloader(): logits, losses; count
                log val/loss, val/METRIC;  the plateau schedule looks at its figure            Learner
                best.ckpt if the monitored figure is no worse                                  Checkpoint
        log train/loss, train/METRIC, train/images                                             Learner
        stop if the figure has not become better                                               Early
        last.ckpt;  stop if told                                                               Checkpoint
    draw the learning curves and training images, also where it ends before its time           Figures, GradientFlow
    the best weights (`test.weights`), averaged if they are, into the network and weights.safetensors
    for batch in data.test_dataloader(): the views of `test`; logits, losses; count
    log test/loss, test/METRIC;  draw the confusion matrix and the worst mistakes              Learner, Figures
    write predictions.npz                                                                      Predictions
    the last word in result.json, then to the trackers
"""

import hashlib
import inspect
import math
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.profilers import AdvancedProfiler, PyTorchProfiler, SimpleProfiler
from safetensors.torch import save_file

from convarium import out_of_memory
from convarium.config.instantiate import build
from convarium.config.rules import directed
from convarium.config.targets import find_target
from convarium.data.image_files.files import BadFile
from convarium.errors import ConfigError, RunError
from convarium.files import appearing, full_disk_line, is_full_disk
from convarium.learn.averaging import Averaging
from convarium.learn.checkpoint_file import net_state, read_checkpoint
from convarium.learn.learner import Diverged, Learner
from convarium.learn.shift_test import ShiftTest
from convarium.observe.layer_table import TABLES, cut_back
from convarium.observe.predictions import Predictions
from convarium.observe.tracker import Tracker
from convarium.progress_bar import erase_line
from convarium.run.checkpoint import AtomicCheckpointIO, Checkpoint, Saved
from convarium.run.console import header, own_log_lines, quiet_lightning, summary
from convarium.run.devices import Precision, cluster_environment, trainer_arguments
from convarium.run.directory import Result, RunDirectory, Status
from convarium.run.lightning import (
    EndingLoop,
    EpochLoop,
    ask_no_driver_per_step,
    drop_signals,
    forget_that_steps_are_limited,
)
from convarium.run.metrics_file import Heartbeat, MetricsFile
from convarium.run.prepare import Prepared
from convarium.run.pretrained import Loaded, load_weights
from convarium.run.stop_request import Interrupted, StopRequest
from convarium.wording import counted, one_line

PROFILERS = {"simple": SimpleProfiler, "advanced": AdvancedProfiler, "pytorch": PyTorchProfiler}


@dataclass(frozen=True)
class Experiment:
    """What one run is made of, built and not yet started."""

    learner: Learner
    trainer: L.Trainer
    checkpoint: Checkpoint | None
    averaging: Averaging | None
    stop: StopRequest
    loaded: Loaded | None
    """The published weights that it begins with, if they are not new."""


class Ending(NamedTuple):
    """How a run ended: its status, one line unless all is well, and the exit code."""

    status: Status
    error: str | None
    code: int
    is_plain: bool = False
    """Whether the line says all there is."""


def assemble(run: RunDirectory, prepared: Prepared) -> Experiment:
    """Build everything but the loggers; nothing is written. The same seed draws the same weights, also on a restart.

    Raises ConfigError for what cannot be built.
    """
    config = prepared.config
    precision: Precision = build(config["precision"], "precision")
    precision.apply()
    torch.set_num_threads(config["threads"])
    torch.manual_seed(config["seed"])
    net = build(config["arch"], "arch")
    begins = bool(config.get("weights")) and not run.last.is_file()
    loaded = load_weights(net, config, prepared.pretrained) if begins else None
    learner = Learner(
        net,
        num_classes=config["data"]["num_classes"],
        loss=prepared.loss,
        optimizer=build(config["optimizer"], "optimizer"),
        schedule=prepared.schedule,
        length=prepared.length,
        clip=build(config["clip"], "clip"),
        decay=config["decay"],
        metrics=build(config["metrics"], "metrics"),
        seed=config["seed"],
    )
    callbacks = build_callbacks(config)
    averaging = Averaging(prepared.average) if prepared.average else None
    early = build(directed(config["stop"], config, "stop"), "stop")
    stop = StopRequest()
    checkpoint = next((callback for callback in callbacks if isinstance(callback, Checkpoint)), None)
    if checkpoint is not None:
        checkpoint.begin(run, config, stop)
    ranks, profiler = prepared.placement.ranks, config["trainer"].get("profiler")
    watching = (averaging, SameConfig(run.config_file, ranks), *callbacks, early, Predictions())
    try:
        with quiet_lightning():
            trainer = build(config["trainer"], "trainer")(
                **trainer_arguments(prepared.placement, precision, config["trainer"]["strategy"]),
                callbacks=[callback for callback in watching if callback is not None],
                plugins=[AtomicCheckpointIO(), cluster_environment(ranks)],
                default_root_dir=run.path,
                profiler=profiler and PROFILERS[profiler](run.path / "profile", profiler),
                num_sanity_val_steps=0,
                enable_checkpointing=checkpoint is not None,
            )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise ConfigError(f"trainer: {one_line(error)}") from error
    if not prepared.data.num_val:  # how Lightning is told that there is no validation, also in a fast_dev_run
        trainer.limit_val_batches = 0
    loop = EndingLoop if profiler else EpochLoop  # a profiler measures what Lightning's own calls
    trainer.fit_loop.epoch_loop = loop(trainer, trainer.min_steps, trainer.max_steps)
    drop_signals(trainer)
    forget_that_steps_are_limited(trainer)
    return Experiment(learner, trainer, checkpoint, averaging, stop, loaded)


def build_callbacks(config: dict[str, Any]) -> list[L.Callback]:
    """The callbacks of a config; one that monitors a figure knows which way that is better."""
    nodes = {name: directed(node, config, f"callbacks.{name}") for name, node in config["callbacks"].items()}
    return list(build(nodes, "callbacks").values())


def fit(
    run: RunDirectory,
    prepared: Prepared,
    experiment: Experiment,
    saved: Saved | None,
    write_page: Callable[[RunDirectory], object] | None = None,
) -> int:
    """Train, test and record in this process; the exit code. The run directory is there, and ours to write.
    saved: what the run goes on from, if it does. write_page: called before the trackers end, if there are any, which
    take the page with them; it raises nothing.

    With several ranks, a failure that is this rank's alone is raised again: whoever started us has to end the others.
    """
    ask_no_driver_per_step()
    trainer, learner, stop = experiment.trainer, experiment.learner, experiment.stop
    trackers: list[Tracker] = []
    ending = Ending("failed", None, 1)
    result = Result(run, prepared.config) if trainer.global_rank == 0 else None
    with stop.listening(), own_log_lines():
        try:
            if result:
                begin_record(result, run, prepared, experiment)
            trackers = connect_loggers(run, prepared.config, experiment, saved)
            if result and trackers:
                result.write(trackers={tracker.name: tracker.run_id for tracker in trackers})
            with quiet_lightning():
                trainer.fit(learner, datamodule=prepared.data, ckpt_path=saved and run.last, weights_only=True)
                test(run, prepared, experiment)
            for logger in trainer.loggers:
                logger.save()
            ending = Ending("ok", None, 0)
        except BaseException as failure:
            ending = classify_failure(failure, run)
            if not isinstance(failure, Interrupted | Diverged):  # of which all ranks know
                if prepared.placement.ranks > 1:
                    if ending.is_plain:
                        raise RunError(ending.error) from failure
                    raise
                if ending.status == "failed" and not ending.is_plain:
                    traceback.print_exc()
        finally:
            stop.waits = True  # also for the SIGTERM that comes when another rank leaves first
            with suppress(OSError):  # by which the run has ended
                for logger in trainer.loggers:
                    logger.save()
            if result:
                ending = end_record(result, run, experiment, ending, trackers, write_page)
    return ending.code


def begin_record(result: Result, run: RunDirectory, prepared: Prepared, experiment: Experiment) -> None:
    """Write result.json for the first time, keep it alive from here on, and print the header."""
    views = {"test_views": str(prepared.views)} if prepared.views else {}
    at, params, macs = prepared.placement, prepared.preflight.params, prepared.preflight.macs
    images = {"train": prepared.data.num_train, "val": prepared.data.num_val, "test": prepared.data.num_test}
    result.write(
        params=params, macs=macs, images=images, total_steps=prepared.length.total_steps, device=at.description, **views
    )
    trainer, learner, heartbeat = experiment.trainer, experiment.learner, Heartbeat(result)
    trainer.callbacks.insert(0, heartbeat)  # type: ignore[attr-defined]
    if experiment.checkpoint is not None:
        experiment.checkpoint.on_saved = lambda step: heartbeat.beat(trainer, learner, saved_steps=step)
    if prepared.placement.ranks > 1:
        erase_line()
    print(header(run, prepared, experiment.loaded), flush=True)


def connect_loggers(
    run: RunDirectory, config: dict[str, Any], experiment: Experiment, saved: Saved | None
) -> list[Tracker]:
    """Give the trainer its loggers, metrics.csv first, and begin the trackers among them.

    saved: what the run goes on from, to which metrics.csv and the tables of layers are cut back.
    """
    trainer = experiment.trainer
    table = MetricsFile(run.metrics_file)
    nodes = {name: dict(node) for name, node in config["logger"].items()}
    for name, node in nodes.items():
        if "save_dir" in inspect.signature(find_target(node, f"logger.{name}")).parameters:  # Lightning's
            node["save_dir"] = str(run.path)
    loggers = list(build(nodes, "logger").values())
    trackers = [logger for logger in loggers if isinstance(logger, Tracker)]
    if trainer.global_rank == 0:
        step = saved.global_step if saved else -1
        experiment.learner.latest = table.cut_back(step)
        for name in TABLES:
            cut_back(run.path / f"{name}.csv", step)
        for tracker in trackers:
            previous = saved.trackers.get(type(tracker).__name__) if saved else None
            tracker.begin(run_dir=run.path, name=run.path.name, config=config, run_id=previous)
    trainer.loggers = [table, *loggers]
    return trackers


def test(run: RunDirectory, prepared: Prepared, experiment: Experiment) -> None:
    """Touch the test split once, with the weights that `test.weights` names, and leave these in weights.safetensors."""
    trainer, learner, checkpoint = experiment.trainer, experiment.learner, experiment.checkpoint
    learner.views = prepared.views
    if shift := prepared.config["test"].get("shift"):
        learner.shift_test = ShiftTest(shift)
    data = prepared.data if prepared.views is None else prepared.data.showing(prepared.views.shows)
    best = (
        prepared.config["test"]["weights"] == "best"
        and checkpoint is not None
        and checkpoint.best_score is not None
        and not prepared.data.test_is_val
        and not trainer.fast_dev_run  # type: ignore[attr-defined]
    )
    averaged = None
    if best:
        trainer.strategy.barrier("best.ckpt")
        saved = read_checkpoint(run.best)
        averaged = saved["averaged"]
        learner.net.load_state_dict(net_state(saved))
    elif experiment.averaging is not None and (averaged := experiment.averaging.averaged_state()) is not None:
        learner.net.load_state_dict(averaged)
    if experiment.averaging is not None:  # what is tested is in place: the last average has no more say
        trainer.callbacks.remove(experiment.averaging)  # type: ignore[attr-defined]
    if trainer.global_rank == 0:
        shown = f", {prepared.views}" if prepared.views else ""
        shown += f", also moved by up to {counted(shift, 'pixel')}" if shift else ""
        which = f"{'best' if best else 'last'}{', averaged' if averaged else ''} weights"
        epoch = f" (epoch {checkpoint.best_epoch + 1})" if best else ""  # type: ignore[union-attr, operator]
        print(f"\ntesting the {which}{epoch}{shown}", flush=True)
        state = {name: value.detach().cpu().contiguous() for name, value in learner.net.state_dict().items()}
        with appearing(run.weights) as temporary:
            save_file(state, temporary, metadata={"format": "pt", "convarium": prepared.config["name"]})
            temporary.chmod(0o644)  # safetensors makes it ours alone
    trainer.test(learner, datamodule=data, verbose=False, weights_only=True)


def end_record(
    result: Result,
    run: RunDirectory,
    experiment: Experiment,
    ending: Ending,
    trackers: list[Tracker],
    write_page: Callable[[RunDirectory], object] | None,
) -> Ending:
    """The last word in result.json, then to the trackers, which may take their time, then on the screen.

    The ending is another one if result.json cannot be written."""
    learner, trainer, checkpoint = experiment.learner, experiment.trainer, experiment.checkpoint
    metrics = dict(learner.latest)
    if checkpoint is not None and checkpoint.best_score is not None:
        metrics[f"best/{checkpoint.monitor}"] = checkpoint.best_score
    # Lightning counts the epoch within which a run has ended, but not where such a run comes back for its test alone,
    # nor the one at whose end a run is stopped
    epochs = trainer.global_step / learner.length.steps_per_epoch
    reached = {
        "notes": learner.notes,
        "metrics": metrics,
        "images_per_second": learner.images_per_second,
        "epochs": math.ceil(epochs) if ending.status == "ok" else max(trainer.current_epoch, math.floor(epochs)),
        "steps": trainer.global_step,
    }
    begun = trainer.global_step > 0  # else what an earlier part has recorded stands: its checkpoint is not loaded yet
    try:
        result.write(status=ending.status, error=ending.error, **(reached if begun else {}))
    except OSError as failure:  # the folder is gone, or the disk has no place for a byte more
        ending = classify_failure(failure, run) if ending.status == "ok" else ending
        result.fields |= {"status": ending.status, "error": ending.error}
    figures = sorted((run.path / "figures").glob("*.png"))
    if trackers and write_page is not None:
        write_page(run)
    for tracker in trackers:
        tracker.end(ending.status, metrics | {key: result.fields[key] for key in ("params", "macs")}, figures)
    if ending.error:
        print(f"{ending.status}: {ending.error}", file=sys.stderr)
    print(summary(run, result.fields), flush=True)
    return ending


def classify_failure(failure: BaseException, run: RunDirectory) -> Ending:
    """What a failure means for the run: its status, one line, and the exit code."""
    line = (str(failure).strip().splitlines() or [""])[0]
    # Lightning turns an unexpected KeyboardInterrupt into SystemExit(1)
    if isinstance(failure, KeyboardInterrupt) or isinstance(failure.__context__, KeyboardInterrupt):
        return Ending("interrupted", "stopped by Ctrl-C, without a checkpoint", 128 + signal.SIGINT)
    if isinstance(failure, Interrupted):
        return Ending("interrupted", str(failure), 128 + failure.signum)
    if isinstance(failure, Diverged):
        return Ending("diverged", str(failure), 1)
    if out_of_memory.is_lack_of_memory(failure):
        return Ending("oom", line or "out of memory", 1)
    if is_full_disk(failure):
        return Ending("failed", full_disk_line(failure, run.path), 1, is_plain=True)
    if isinstance(failure, OSError) and not run.config_file.is_file():
        return Ending("failed", f"{run.path}: the folder of the run is gone", 1, is_plain=True)
    if isinstance(failure, SystemExit):
        return Ending("exited", f"exit code {failure.code}", failure.code if isinstance(failure.code, int) else 1)
    if isinstance(failure, BadFile | RunError):
        return Ending("failed", line, 1, is_plain=True)
    return Ending("failed", f"{type(failure).__name__}: {line}", 1)


class SameConfig(L.Callback):
    """Before the first step: every rank runs the same config in a world of the size that was asked for."""

    def __init__(self, config_file: Path, ranks: int) -> None:
        self.config_file = config_file
        self.ranks = ranks

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        world = torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1
        if not world == trainer.world_size == self.ranks:
            raise RunError(
                f"rank {trainer.global_rank}: {self.ranks} ranks were asked for, Lightning counts {trainer.world_size},"
                f" the process group has {world}"
            )
        if world > 1:
            own = int.from_bytes(hashlib.sha256(self.config_file.read_bytes()).digest()[:7], "big")
            digests: list[int] = [0] * world
            torch.distributed.all_gather_object(digests, own)
            for rank, digest in enumerate(digests):
                if digest != own:
                    raise RunError(f"rank {trainer.global_rank}: rank {rank} runs another config.yaml")
