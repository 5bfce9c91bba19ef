"""What a target may be at each place, held against everything that the packages have."""

import inspect
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pkgutil import walk_packages
from types import BuiltinFunctionType, FunctionType
from typing import Any

import lightning.pytorch as L
import pytest
import torch
import torchmetrics
from torch import nn

import convarium
from convarium.config.targets import RULES, WITHIN, check_targets, find_target
from convarium.errors import ConfigError

PACKAGES = ("convarium", "torch", "torchvision", "lightning", "torchmetrics", "wandb")
PLACES = [
    *(f"{group}.x" if rule.entries else group for group, rule in RULES.items()),
    *(place.replace("[]", "[0]").replace("*", "x") for place in WITHIN),
]
FACTORIES = {
    "norm": {"none", "batch", "sync_batch", "layer", "instance"},
    "pool": {"max_pool", "average_pool"},
    "init": {"he", "xavier", "lecun", "orthogonal", "normal", "uniform_fan_in", "partly_from", "zeros"},
    "clip": {"clip_by_norm", "clip_by_value", "clip_adaptive", "gradient_norm"},
}
"""The functions of our own that are accepted."""


@cache
def callables() -> dict[str, Any]:
    """Every class and function of the packages, by the name under which its module has it."""
    for name in ("torchvision", "wandb"):
        import_module(name)
    for module in walk_packages(convarium.__path__, "convarium."):
        import_module(module.name)
    found = {}
    for name, module in sorted(sys.modules.items()):
        if name.partition(".")[0] in PACKAGES and module is not None:
            for attribute, value in vars(module).items():
                if issubclass(type(value), type | FunctionType | BuiltinFunctionType):
                    found[f"{name}.{attribute}"] = value
    return found


def accepted(place: str) -> Iterator[tuple[str, Any]]:
    for path in callables():
        try:
            yield path, find_target({"_target_": path}, place)
        except ConfigError:
            continue


@pytest.mark.parametrize("place", PLACES)
def test_of_all_that_the_packages_have_only_its_kind_is_accepted(place: str) -> None:
    group = place.removeprefix("arch.").removeprefix("parts.").partition(".")[0]
    bases = {
        **dict.fromkeys(("arch", "norm", "activation", "pool", "loss"), nn.Module),
        **dict.fromkeys(("callbacks", "stop"), L.Callback),
        "optimizer": torch.optim.Optimizer,
        "logger": L.loggers.Logger,
        "metrics": torchmetrics.Metric,
        "trainer": L.Trainer,
    }
    functions = set()
    found = dict(accepted(place))
    assert found
    for target in found.values():
        if inspect.isclass(target):
            assert issubclass(target, bases.get(group, object))
            assert f"{target.__module__}.".startswith(RULES.get(group, RULES["loss"]).prefixes)
        else:
            functions.add(f"{target.__module__}.{target.__name__}")
    ours = {name.rpartition(".")[2] for name in functions if name.startswith("convarium.")}
    wanted = FACTORIES["norm"] | FACTORIES["pool"] if group in ("arch", "norm", "activation", "pool") else None
    assert ours <= (FACTORIES.get(group, set()) if wanted is None else wanted)
    rest = {name for name in functions if not name.startswith("convarium.")}
    assert all(name.startswith("torchvision.models.") and name.count(".") == 3 for name in rest)
    assert not rest or group == "arch"


EFFECTS = (
    *("convarium.observe.wandb.ask", "convarium.observe.wandb.netrc_key", "convarium.files.write_atomically"),
    *("convarium.cli.main", "convarium.learn.checkpoint_file.read_checkpoint", "torch.hub.load", "torch.load"),
    *("torch.save", "torch.utils.cpp_extension.load_inline", "torch.nn.utils.skip_init", "wandb.init", "wandb.login"),
    *("torchvision.models.get_model", "torchvision.models.detection.fasterrcnn_resnet50_fpn", "os.system"),
    *("torchmetrics.text.BERTScore", "torchmetrics.MetricCollection", "lightning.pytorch.LightningModule"),
    *(
        "subprocess.call",
        "builtins.exec",
        "importlib.import_module",
        "shutil.rmtree",
        "lightning.pytorch.seed_everything",
    ),
)


@pytest.mark.parametrize("path", EFFECTS)
def test_what_acts_or_fetches_is_accepted_at_no_place(path: str) -> None:
    for place in (*PLACES, "loss.label_smoothing", "logger.x.key", "data.root", "optimizer.lr", "arch.stem", "nowhere"):
        if (place, path) == ("arch", "lightning.pytorch.LightningModule"):
            continue
        with pytest.raises(ConfigError):
            find_target({"_target_": path}, place)


@pytest.mark.parametrize(
    "place", ["loss.label_smoothing", "logger.wandb.key", "arch.stem", "metrics.acc1.top", "norm.a"]
)
def test_a_target_where_no_part_is_declared_is_refused_by_its_name(place: str) -> None:
    group, *inside = place.split(".")
    node: Any = {"_target_": "torch.nn.ReLU"}
    for name in reversed(inside):
        node = {name: node}
    with pytest.raises(ConfigError, match=f"{place}._target_=torch.nn.ReLU: not allowed there; accepted: nothing"):
        check_targets({group: node})


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("loggers.CSVLogger", {"save_dir": "/tmp/victim"}),
        ("loggers.CSVLogger", {"name": "../../victim"}),
        ("loggers.WandbLogger", {"settings": {"base_url": "https://evil.example"}}),
        ("loggers.TensorBoardLogger", {"sub_dir": "~"}),
        ("callbacks.ModelCheckpoint", {"dirpath": "/home/victim"}),
        ("callbacks.ModelCheckpoint", {"filename": "../best"}),
        ("callbacks.OnExceptionCheckpoint", {"dirpath": "a/b"}),
    ],
)
def test_a_class_of_lightnings_that_writes_takes_no_path(name: str, arguments: dict[str, Any]) -> None:
    group = "logger" if "Logger" in name else "callbacks"
    with pytest.raises(ConfigError, match=rf"{group}\.x\..*: no path is accepted"):
        check_targets({group: {"x": {"_target_": f"lightning.pytorch.{name}", **arguments}}})


def test_a_monitored_metric_is_no_path() -> None:
    node = {"_target_": "lightning.pytorch.callbacks.ModelCheckpoint", "monitor": "val/loss"}
    check_targets({"callbacks": {"x": node}})
