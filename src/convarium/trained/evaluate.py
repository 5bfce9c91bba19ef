"""Evaluate the weights of a run, on its own data or others of its classes, or of a file; in one process or several."""

import json
import os
import signal
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as L
import torch
from torch import nn
from torch.distributed.elastic.multiprocessing.errors import record

from convarium.batch import Batch
from convarium.config.accepts import shown
from convarium.config.compose import Conf
from convarium.config.instantiate import build
from convarium.config.keys import EVALUATE, NETWORK, Part, has_part, names_with, row
from convarium.config.overrides import keys_of, readable
from convarium.config.rules import check_test
from convarium.config.targets import find_target
from convarium.data.datasets.folder import listed_bad
from convarium.data.image_files.files import BadFile
from convarium.data.image_files.tables import shortened
from convarium.data.module import ImageData
from convarium.errors import ConfigError
from convarium.learn.learner import Learner
from convarium.learn.lengths import TrainingLength
from convarium.learn.schedules import Constant
from convarium.learn.shift_test import ShiftTest
from convarium.learn.views import Views
from convarium.machine import die_with_parent, scrub_rank_variables, threads_of
from convarium.progress_bar import Progress, doing
from convarium.run.console import quiet_lightning
from convarium.run.devices import Placement, check_precision, cluster_environment, place, trainer_arguments
from convarium.run.directory import RunDirectory
from convarium.run.preflight import check_dense, check_metrics, check_views, without_values
from convarium.run.prepare import adapt_to_weights, views_of
from convarium.run.pretrained import load_weights
from convarium.run.resume import check_outward, overrides_from_here, read_config
from convarium.run.worker import start_ranks
from convarium.trained import SPLITS
from convarium.trained.load import load_run
from convarium.wording import nearest, one_line

ACCEPTED = [*names_with(EVALUATE), *(f"{group}.KEY" for group in ("data", "metrics", "precision"))]
ANSWER = "metrics.json"
DRAWS = "draws"  # a file that is there from when rank 0 draws its bar
INPUT = ("image_size", "mean", "std", "classes")  # what the network is used to: other data are brought to it


class Evaluation(NamedTuple):
    """Which weights are evaluated, on what and where."""

    run: RunDirectory | None  # None: the network is that of the config, with the weights that it names
    weights: str
    split: str
    config: dict[str, Any]
    placement: Placement
    views: Views | None  # None: the image of one crop
    shift: int | None  # pixels of a shift test
    other_data: bool  # than the run's own
    assumption: str = ""  # what a file does not tell of its network


class Measured(NamedTuple):
    """What an evaluation gives."""

    metrics: dict[str, float]  # by the names they have in metrics.csv
    images: int  # those that were measured
    left_out: dict[str, str]  # why files could not be read, where `data.on_bad_file` goes on without them


def prepare(
    run: RunDirectory, overrides: Sequence[str] = (), *, weights: str = "final", split: str = "test"
) -> Evaluation:
    """The evaluation that the run itself made, changed by overrides of where and on what.

    On a machine without the run's devices, and if none are named, it takes one of those there are. Other data are sized
    and normalized as in training, unless an override says otherwise. Raises ConfigError for a key that has no part in
    an evaluation, for data of other channels or classes, and for devices or a precision that this machine lacks.
    """
    config, named = _config(run, overrides)
    own, given = run.config()["data"], config["data"]
    other = any(own.get(name) != given.get(name) for name in ("_target_", "root"))
    return _evaluation(run, weights, split, config, named, other)


def prepare_file(overrides: Sequence[str], *, split: str = "test") -> Evaluation:
    """The evaluation of the file of weights that the overrides name, in the network and on the data that they choose.

    Raises ConfigError as `prepare` does, and for weights that are missing or do not fit.
    """
    words = readable(overrides)
    conf = Conf()
    named = _named(conf, words, (EVALUATE, NETWORK), (*names_with(NETWORK), "split", "format", *ACCEPTED))
    adapted = adapt_to_weights(conf, conf.compose(words, to_train=False))
    config, opened = adapted.config, adapted.pretrained
    if opened is None:
        raise ConfigError("weights: none given; an evaluation without a run needs weights=FILE, or torchvision:NAME")
    evaluation = _evaluation(None, config["weights"], split, config, named, True)
    return evaluation._replace(assumption=opened.assumption)


def _evaluation(
    run: RunDirectory | None, weights: str, split: str, config: dict[str, Any], named: Sequence[str], other: bool
) -> Evaluation:
    placement = _place(config, named)
    check_metrics(config)
    if split == "val" and not any(key.startswith("test.") for key in named):  # as validation is measured in training
        return Evaluation(run, weights, split, config, placement, None, None, other)
    check_test(config)
    check_views(config, build(config["loss"], "loss"))
    check_dense(without_values(config), config)
    views, shift = views_of(config, ranks=placement.ranks), config["test"].get("shift")
    return Evaluation(run, weights, split, config, placement, views, shift, other)


def _place(config: dict[str, Any], named: Sequence[str]) -> Placement:
    """Where to compute, and with how many threads, which is noted in the config."""
    if "trainer" in named and config["trainer"]["num_nodes"] > 1:
        raise ConfigError(f"trainer.num_nodes={config['trainer']['num_nodes']}: an evaluation runs on one machine")
    trainer = config["trainer"] | {"num_nodes": 1}
    try:
        placement = place(trainer)
    except ConfigError:
        if any(key.startswith("trainer") for key in named):
            raise
        placement = place(trainer | {"accelerator": "auto", "devices": 1})
    check_precision(config["precision"], placement)
    if "threads" not in named:
        share = threads_of(placement.devices)
        config["threads"] = min(config["threads"] or share, share)
    return placement


def _config(run: RunDirectory, overrides: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The config of a run changed by overrides, and the keys that these name."""
    frozen = read_config(run, overrides)
    check_outward(run, frozen, overrides, EVALUATE)
    if not overrides:
        return frozen, []
    words = readable(overrides)
    folder = frozen.get("config_dir")
    is_gone = folder is not None and not os.path.isdir(folder)
    conf = Conf(None if is_gone else folder)
    named = _named(conf, words, (EVALUATE,), ("weights", "split", "format", *ACCEPTED))
    own = overrides_from_here(run, frozen, words)
    if is_gone:  # what an evaluation takes may be among our own answers
        own = [word for word, key in zip(own, keys_of(own), strict=True) if has_part(key, EVALUATE)]
    try:
        new = conf.compose([*own, *words], to_train=False).config
    except ConfigError as error:
        if is_gone:
            raise ConfigError(f"{folder}, the --config-dir of the run, is gone; {error}") from error
        raise
    if _has_fewer_classes(frozen["data"], new["data"]) and "data.num_classes" not in named:
        known = f"data.num_classes={frozen['data']['num_classes']}"  # also for what follows from it
        new = conf.compose([*own, *words, known], to_train=False).config
    try:
        old = conf.compose(own, to_train=False).config
    except ConfigError:  # the run's own data may be gone
        old = frozen
    config = dict(frozen)
    for group in ("data", "metrics", "precision", "trainer"):
        if group in named or frozen[group] is None:
            config[group] = new[group]
        else:
            before, after = old[group], new[group]
            asked = [name for name in after if f"{group}.{name}" in named or after[name] != before.get(name)]
            config[group] = frozen[group] | {name: after[name] for name in asked}
    if "threads" in named:
        config["threads"] = new["threads"]
    config["test"] = frozen["test"] | {name: value for name, value in new["test"].items() if f"test.{name}" in named}
    _require_same_classes(frozen["data"], config["data"])
    kept = {name: value for name, value in frozen["data"].items() if name in INPUT and f"data.{name}" not in named}
    if _says_classes(config["data"]):
        kept["classes"] = frozen["data"]["classes"]  # in the order of the network's
    config["data"] = config["data"] | kept
    return config, named


def _named(conf: Conf, words: Sequence[str], parts: Sequence[Part], accepted: Sequence[str]) -> list[str]:
    """The keys that the words name, each of which must have one of the parts."""
    with conf.explained(words):
        named = keys_of(words)
    for key in named:
        if not any(has_part(key, part) for part in parts):
            listed = ", ".join(accepted)
            raise ConfigError(f"{key}: has no part in an evaluation{nearest(key, accepted)} Accepted: {listed}")
    return named


def _says_classes(data: dict[str, Any]) -> bool:
    """Whether each image says by name of which class it is, so that neither order nor number of classes matter."""
    return bool(data.get("classes")) and getattr(find_target(data, "data"), "by_name", False)


def _has_fewer_classes(own: dict[str, Any], given: dict[str, Any]) -> bool:
    names = own.get("classes") or ()
    return _says_classes(given) and given["num_classes"] != own["num_classes"] and set(given["classes"]) <= set(names)


def _require_same_classes(own: dict[str, Any], given: dict[str, Any]) -> None:
    if own.get("classes") and _says_classes(given):
        unknown = [name for name in given["classes"] if name not in own["classes"]]
        if unknown:
            known = shortened(own["classes"])
            raise ConfigError(f"data.root={given['root']}: class {unknown[0]}: unknown to this run, which has {known}")
    for name in ("channels", "num_classes"):
        if given[name] != own[name]:
            raise ConfigError(f"data.{name}={given[name]}: the network of this run has {own[name]}")
    names, others = own.get("classes"), given.get("classes")
    if names and others and names != others and not _says_classes(given):
        raise ConfigError(f"data.classes={shown(others)}: the network of this run has {shown(names)}")


def evaluate(evaluation: Evaluation) -> dict[str, float]:
    """The metrics of `measure`."""
    return measure(evaluation).metrics


def measure(evaluation: Evaluation, *watching: L.Callback) -> Measured:
    """The metrics of the split, those of the run itself if nothing differs, and of how many images they are.

    watching: callbacks that look on, where one process evaluates.
    Raises ConfigError or RunError before anything is started, and ConfigError for a file that cannot be read and is to
    end it; RankFailed or Stopped if one of several processes ends.
    """
    run, config, placement = evaluation.run, evaluation.config, evaluation.placement
    net = _load(evaluation)
    data = _read(evaluation)
    if run is None or config["data"]["image_size"] != run.config()["data"]["image_size"]:
        _require_size(net, config["data"], "this network" if run is None else "the network of this run")
    scrub_rank_variables()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if placement.ranks == 1:
            metrics, images = _evaluate(evaluation, net, data, folder, *watching)
        else:
            del net, data
            arguments = (evaluation, folder, os.getpid())
            with doing(lambda: said_of(folder)):
                start_ranks(evaluate_rank, *arguments, ranks=placement.ranks, threads=config["threads"], logs=folder)
            metrics, images = json.loads((folder / ANSWER).read_text())
        return Measured(metrics, images, listed_bad(folder))


def said_of(folder: Path) -> str:
    """What is to be said of the ranks that share `folder`: nothing while rank 0 has the terminal for its bar."""
    if (folder / ANSWER).exists():
        return "end the processes"
    return "" if (folder / DRAWS).exists() else "start the processes"


@record
def evaluate_rank(evaluation: Evaluation, folder: Path, parent: int) -> None:
    """One rank of `evaluate`, started by process `parent`; rank 0 leaves metrics and images in a file of `folder`."""
    die_with_parent(parent)
    net = _load(evaluation)
    first = os.environ["RANK"] == "0"
    if first:
        (folder / DRAWS).touch()
    measured = _evaluate(evaluation, net, _data(evaluation), folder)
    if first:
        (folder / ANSWER).write_text(json.dumps(measured))


def _load(evaluation: Evaluation) -> nn.Module:
    """The network with its weights. Raises ConfigError or RunError."""
    run, weights, _, config, *_ = evaluation
    if run is not None:
        return load_run(run.path, weights=weights)
    with torch.random.fork_rng(devices=[]):  # the weights it draws are not kept
        net: nn.Module = build(config["arch"], "arch")
    loaded = load_weights(net, config)
    if loaded.new_heads:
        classes = config["data"]["num_classes"]
        raise ConfigError(f"data.num_classes={classes}: weights={weights} are for {loaded.classes} classes")
    return net


def _read(evaluation: Evaluation) -> ImageData:
    """The data. Raises ConfigError if the split cannot be read, or holds no images."""
    split = evaluation.split
    limit = evaluation.config["trainer"][f"limit_{split}_batches"]
    if not limit:
        raise ConfigError(f"trainer.limit_{split}_batches={limit}: leaves nothing to measure")
    try:
        data = _data(evaluation)
        batches = data.test_dataloader() if split == "test" else data.val_dataloader()
        data.check_limit(split, limit, evaluation.placement.ranks)
    except (ValueError, OSError) as error:
        raise ConfigError(str(error)) from error
    if not len(batches):
        others = " or ".join(f"split={other}" for other in SPLITS if other != split)
        raise ConfigError(f"split={split}: there are no such images; accepted: {others}")
    return data


def _data(evaluation: Evaluation) -> ImageData:
    data: ImageData = build(evaluation.config["data"], "data")
    data = data if evaluation.views is None else data.showing(evaluation.views.shows)
    data.measured = evaluation.other_data
    return data


def _require_size(net: nn.Module, data: dict[str, Any], called: str) -> None:
    size = data["image_size"]
    try:
        with torch.inference_mode():
            logits = net.eval()(torch.zeros(1, data["channels"], size, size))
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"data.image_size={size}: {called} does not take it ({one_line(error)})") from error
    if logits.shape[1] != data["num_classes"]:
        raise ConfigError(f"data.num_classes={data['num_classes']}: {called} has {logits.shape[1]}")


class Count(L.Callback):
    """The images that are measured, over all ranks; on the first of them also how far it is."""

    def __init__(self, progress: Progress) -> None:
        self.images = 0
        self.progress = progress

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        batches = trainer.num_test_batches if trainer.testing else trainer.num_val_batches
        self.progress.begin(int(sum(batches)), "batches")

    def on_test_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        self.images += len(batch.targets)
        self.progress.advance()

    def on_test_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        own = torch.tensor(self.images, device=pl_module.device)
        self.images = int(trainer.strategy.reduce(own, reduce_op="sum"))

    on_validation_start = on_test_start
    on_validation_batch_end = on_test_batch_end
    on_validation_epoch_end = on_test_epoch_end


def _evaluate(
    evaluation: Evaluation, net: nn.Module, data: ImageData, folder: Path, *watching: L.Callback
) -> tuple[dict[str, float], int]:
    """Evaluate in this process, alone or as one rank of several: the metrics and the number of images of all ranks.
    What the data have to say of bad files is left in `folder`."""
    split, config, placement, views = evaluation.split, evaluation.config, evaluation.placement, evaluation.views
    parts = {name: build(config[name], name) for name in ("precision", "loss", "optimizer", "metrics")}
    precision = parts.pop("precision")
    precision.apply()
    torch.set_num_threads(config["threads"])
    learner = Learner(net, num_classes=data.num_classes, schedule=Constant(), length=TrainingLength(1, 1), **parts)
    learner.views = views
    if evaluation.shift:
        learner.shift_test = ShiftTest(evaluation.shift)
    with quiet_lightning(), Progress() as progress:
        where, here = trainer_arguments(placement, precision), cluster_environment(placement.ranks)
        known = [name for name in config["trainer"] if row(f"trainer.{name}") and has_part(f"trainer.{name}", EVALUATE)]
        limits = {name: config["trainer"][name] for name in known if name not in ("accelerator", "devices")}
        limits |= {"callbacks": [count := Count(progress), *watching], "default_root_dir": folder}
        trainer = L.Trainer(**where, **limits, plugins=[here], enable_checkpointing=False)
        try:
            (trainer.test if split == "test" else trainer.validate)(learner, datamodule=data, verbose=False)
        except SystemExit as end:  # Lightning's answer to Ctrl-C, to which it is deaf from then on
            signal.signal(signal.SIGINT, signal.default_int_handler)
            raise KeyboardInterrupt from end
        except BadFile as error:
            raise ConfigError(str(error)) from error
    metrics = {name: value for name, value in learner.latest.items() if name.startswith(f"{split}/")}
    return metrics, count.images
