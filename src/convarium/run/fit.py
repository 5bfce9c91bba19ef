"""One experiment in one process (one rank of it): build the parts, fit, test, record."""

import hashlib
import logging
import math
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from safetensors.torch import save_file

from convarium import out_of_memory
from convarium.config.instantiate import build
from convarium.data.image_files.files import BadFile
from convarium.data.module import ImageData
from convarium.errors import ConfigError, RunError
from convarium.learn.averaging import Averaging
from convarium.learn.checkpoint_file import net_state, read_checkpoint
from convarium.learn.learner import Diverged, Learner
from convarium.learn.lengths import Clock
from convarium.learn.precision import Precision
from convarium.learn.protocol import views_of
from convarium.observe.tracker import Tracker
from convarium.run.checkpoint import AtomicCheckpointIO, Checkpoint
from convarium.run.console import header, our_lines_shown, summary
from convarium.run.devices import Placement, Preflight
from convarium.run.directory import Result, RunDirectory, Status
from convarium.run.lightning import EpochLoop, ask_no_driver_per_step, drop_signals
from convarium.run.metrics_file import MetricsFile, Recorder
from convarium.run.pretrained import Loaded, load_weights
from convarium.run.stop_request import Interrupted, StopRequest

PLAIN = frozenset({"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"})
"""The variables by which any starter can tell a rank what it is."""


@dataclass(frozen=True)
class Assembly:
    """What one run is made of, built and not yet started."""

    learner: Learner
    data: ImageData
    trainer: L.Trainer
    checkpoint: Checkpoint | None
    averaging: Averaging | None
    stop: StopRequest
    weights: Loaded | None
    """Those it begins with, if they are not new."""


class Agreement(L.Callback):
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


def build_data(config: dict[str, Any]) -> ImageData:
    """The experiment's data, read as far as training needs it. Raises ConfigError where it cannot be."""
    try:
        data: ImageData = build(config["data"], "data")
        data.setup("fit")
    except (ValueError, OSError) as error:
        raise ConfigError(str(error)) from error
    return data


def check_batch_fits(config: dict[str, Any], data: ImageData) -> None:
    """Raise ConfigError for a batch of more images than there are to train on."""
    if config["batch_size"] > data.num_train:
        raise ConfigError(f"batch_size={config['batch_size']}: more than the {data.num_train:,} training images")


def measure(config: dict[str, Any], data: ImageData) -> Clock:
    """The length of the run. Raises ConfigError if it has none, or if the schedule or the average do not fit in."""
    trainer = config["trainer"]
    accumulate = trainer["accumulate_grad_batches"]
    micro_batches = data.train_dataloader().steps * accumulate
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
        raise ConfigError(f"trainer.limit_train_batches={limit}: leaves no batch to train on")
    epochs, most = trainer["max_epochs"], trainer["max_steps"]
    if trainer["fast_dev_run"]:
        epochs, most = 1, -1
    clock = Clock(per_epoch * epochs if most == -1 else min(most, per_epoch * epochs), per_epoch)
    try:
        build(config["schedule"], "schedule").check(clock)
        if config["average"]:
            build(config["average"], "average").check(clock)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return clock


def build_parts(config: dict[str, Any], run: RunDirectory, found: Preflight, data: ImageData, clock: Clock) -> Assembly:
    """Everything but the loggers; nothing is written. Weights are drawn right after seeding, on a restart the same."""
    precision: Precision = build(config["precision"], "precision")
    precision.apply()
    torch.set_num_threads(config["threads"])
    torch.manual_seed(config["seed"])
    net = build(config["arch"], "arch")
    begins = bool(config.get("weights")) and not run.last.is_file()
    weights = load_weights(net, config) if begins else None
    learner = Learner(
        net,
        num_classes=config["data"]["num_classes"],
        loss=build(config["loss"], "loss"),
        optimizer=build(config["optimizer"], "optimizer"),
        schedule=build(config["schedule"], "schedule"),
        clock=clock,
        clip=build(config["clip"], "clip"),
        decay=config["decay"],
        seed=config["seed"],
    )
    callbacks = list(build(config["callbacks"], "callbacks").values())
    averaging = Averaging(build(config["average"], "average")) if config["average"] else None
    early = build(config["stop"], "stop")
    stop = StopRequest()
    checkpoint = next((callback for callback in callbacks if isinstance(callback, Checkpoint)), None)
    if checkpoint is not None:
        checkpoint.begin(run, config, stop)
    ranks = found.placement.ranks
    first = [averaging] if averaging else []
    last = [early] if early else []
    try:
        with our_words_only():
            trainer = build(config["trainer"], "trainer")(
                **surroundings(found.placement, precision, config["trainer"]["strategy"]),
                callbacks=[*first, Agreement(run.config_file, ranks), *callbacks, *last],
                plugins=[AtomicCheckpointIO(), cluster(ranks)],
                default_root_dir=run.path,
                num_sanity_val_steps=0,
                enable_checkpointing=checkpoint is not None,
            )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise ConfigError(f"trainer: {' '.join(str(error).split())}") from error
    if data.num_val == 0:
        trainer.limit_val_batches = 0  # set here, since fast_dev_run replaces the argument of this name
    trainer.fit_loop.epoch_loop = EpochLoop(trainer, trainer.min_steps, trainer.max_steps)
    drop_signals(trainer)
    return Assembly(learner, data, trainer, checkpoint, averaging, stop, weights)


def surroundings(placement: Placement, precision: Precision, strategy: str = "auto") -> dict[str, Any]:
    """What every Trainer of ours is told: where it computes, and to leave the talking and the sampling to us."""
    return {
        "accelerator": placement.accelerator,
        "devices": placement.devices,
        "strategy": "ddp" if placement.ranks > 1 and strategy == "auto" else strategy,
        "precision": precision.mode,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
    }


def cluster(ranks: int) -> ClusterEnvironment:
    """Who started this process: named, never guessed from variables that something else may have left behind.

    A run alone has forgotten them all; what there is of them in one of several ranks is meant for it. Raises RunError
    for a rank that was told nothing.
    """
    if "TORCHELASTIC_RUN_ID" in os.environ or (ranks > 1 and os.environ.keys() >= PLAIN):
        return TorchElasticEnvironment()  # it reads these variables, whoever has set them
    if ranks > 1 and "SLURM_PROCID" not in os.environ:
        raise RunError(
            f"one of {ranks} ranks, but which? set {', '.join(sorted(PLAIN))}, or start it by torchrun or srun"
        )
    return SLURMEnvironment() if ranks > 1 else LightningEnvironment()


def fit_and_test(run: RunDirectory, config: dict[str, Any], found: Preflight, parts: Assembly, *, resume: bool) -> int:
    """Run the experiment in this process and record it; the exit code. The run directory is there, and ours to write.

    With several ranks, a failure that is this rank's alone is raised again: whoever started us has to end the others.
    """
    ask_no_driver_per_step()
    trainer, learner = parts.trainer, parts.learner
    alone = found.placement.ranks == 1
    trackers: list[Tracker] = []
    status: Status = "failed"
    error: str | None = None
    code = 1
    result = Result(run, config) if trainer.global_rank == 0 else None
    with parts.stop.listening(), our_lines_shown():
        try:
            if result:
                views = views_of(config, ranks=found.placement.ranks)
                result.write(
                    params=found.params,
                    macs=found.macs,
                    device=found.placement.description,
                    **({"test_views": str(views)} if views else {}),
                )
                trainer.callbacks.insert(0, Recorder(result))  # type: ignore[attr-defined]
                print(header(run, config, found, parts.data, learner.clock, parts.weights), flush=True)
            start = run.last if resume and run.last.is_file() else None
            trackers = connect(parts, run, config, start)
            with our_words_only():
                trainer.fit(learner, datamodule=parts.data, ckpt_path=start, weights_only=True)
                test(parts, run, config)
            status, code = "ok", 0
        except Interrupted as stop:
            status, error, code = "interrupted", str(stop), 128 + stop.signum
        except Diverged as divergence:
            status, error = "diverged", str(divergence)
        except BaseException as failure:
            status, error, code = judge(failure)
            if not alone:
                raise
            if status == "failed" and not isinstance(failure, BadFile):  # that one says all there is to say
                traceback.print_exc()
        finally:
            parts.stop.waits = True  # also for the SIGTERM that comes when another rank leaves first
            for logger in trainer.loggers:
                logger.save()
            if result:
                finish(result, parts, status, error, trackers)
                if error:
                    print(f"{status}: {error}", file=sys.stderr)
                print(summary(run, result.fields), flush=True)
    return code


def judge(failure: BaseException) -> tuple[Status, str, int]:
    """What a failure means for the run: its status, one line, and the exit code."""
    line = (str(failure).strip().splitlines() or [""])[0]
    # Lightning turns an unexpected KeyboardInterrupt into SystemExit(1)
    if isinstance(failure, KeyboardInterrupt) or isinstance(failure.__context__, KeyboardInterrupt):
        return "interrupted", "stopped by Ctrl-C, without a checkpoint", 128 + signal.SIGINT
    if isinstance(failure, Interrupted):  # that came before or after a run listens for it
        return "interrupted", line, 128 + failure.signum
    if out_of_memory.tells(failure):
        return "oom", line or "out of memory", 1
    if isinstance(failure, SystemExit):
        return "exited", f"exit code {failure.code}", failure.code if isinstance(failure.code, int) else 1
    return "failed", f"{type(failure).__name__}: {line}", 1


def connect(parts: Assembly, run: RunDirectory, config: dict[str, Any], start: Path | None) -> list[Tracker]:
    """Give the trainer its loggers: metrics.csv first, then those asked for."""
    table = MetricsFile(run)
    loggers = list(build(config["logger"], "logger").values())
    trackers = [logger for logger in loggers if isinstance(logger, Tracker)]
    if parts.trainer.global_rank == 0:
        checkpoint = read_checkpoint(start) if start else {}
        table.table.cut_back(checkpoint.get("global_step", -1))
        for tracker in trackers:
            previous = checkpoint.get("trackers", {}).get(type(tracker).__name__)
            tracker.begin(run_dir=run.path, name=run.path.name, config=config, run_id=previous)
    parts.trainer.loggers = [table, *loggers]
    return trackers


def test(parts: Assembly, run: RunDirectory, config: dict[str, Any]) -> None:
    """Touch the test split once, with the weights that `test.weights` names, and leave these in weights.safetensors."""
    trainer, learner = parts.trainer, parts.learner
    learner.views = views_of(config, ranks=trainer.world_size)
    data = parts.data if learner.views is None else parts.data.showing(learner.views.shows)
    best = (
        config["test"]["weights"] == "best"
        and parts.checkpoint is not None
        and parts.checkpoint.best_score is not None
        and not parts.data.test_is_val
        and not trainer.fast_dev_run  # type: ignore[attr-defined]
    )
    averaged = None
    if best:
        trainer.strategy.barrier("best.ckpt")
        saved = read_checkpoint(run.best)
        averaged = saved["averaged"]
        learner.net.load_state_dict(net_state(saved))
    elif parts.averaging is not None and (averaged := parts.averaging.averaged_state()) is not None:
        learner.net.load_state_dict(averaged)
    if parts.averaging is not None:  # what is tested is in place: the last average has no more say
        trainer.callbacks.remove(parts.averaging)  # type: ignore[attr-defined]
    if trainer.global_rank == 0:
        shown = f", {learner.views}" if learner.views else ""
        epoch = f"best, of epoch {parts.checkpoint.best_epoch + 1}" if best else "last"  # type: ignore[union-attr, operator]
        print(f"\ntesting the {epoch}{', averaged' if averaged else ''} weights{shown}", flush=True)
        state = {name: value.detach().cpu().contiguous() for name, value in learner.net.state_dict().items()}
        temporary = run.weights.with_suffix(".tmp")
        save_file(state, temporary, metadata={"format": "pt", "convarium": config["name"]})
        temporary.chmod(0o644)  # safetensors makes it ours alone
        os.replace(temporary, run.weights)
    trainer.test(learner, datamodule=data, verbose=False, weights_only=True)


def finish(result: Result, parts: Assembly, status: Status, error: str | None, trackers: list[Tracker]) -> None:
    """The last word in result.json, then to the trackers, which may take their time."""
    metrics = result.fields["metrics"] | parts.learner.latest
    if parts.checkpoint is not None and parts.checkpoint.best_score is not None:
        metrics[f"best/{parts.checkpoint.monitor}"] = parts.checkpoint.best_score
    result.write(
        status=status,
        error=error,
        metrics=metrics,
        images_per_second=getattr(parts.learner, "images_per_second", None),
        epochs=parts.trainer.current_epoch,
        steps=parts.trainer.global_step,
    )
    for tracker in trackers:
        tracker.end(status, metrics | {"params": result.fields["params"], "macs": result.fields["macs"]})


@contextmanager
def our_words_only() -> Iterator[None]:
    """Without Lightning's lines on devices and limits, which the header says better, and warnings that are not true."""
    for package in ("pytorch", "fabric"):
        logging.getLogger(f"lightning.{package}").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in (
            ".*number of training batches .* smaller than the logging interval.*",
            ".*does not have many workers.*",
            ".*`isinstance.treespec, LeafSpec.` is deprecated.*",  # Lightning's own use of torch
            ".*`srun` command is available.*",  # on a machine that has Slurm; who starts the ranks is known to us
        ):
            warnings.filterwarnings("ignore", message)
        yield
