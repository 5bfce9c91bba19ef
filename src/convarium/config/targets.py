"""What a `_target_` may be at each place of a config: one table.

A config may come from somebody else, so a target is data. Its name must lie under a prefix of its place
(`check_targets`, before anything is imported), and what the name leads to must really be defined there and be a class
of the place's kind, or a function that says that it returns one (`find_target`, before it is called). Inside a group a
target stands only where the argument is a declared part. One's own Python is admitted by the environment
(`convarium.config.trust`), never by a config. No torch until a target is looked for.
"""

import inspect
import os
import re
import typing
from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

from convarium.config.trust import trust
from convarium.errors import ConfigError


class Rule(NamedTuple):
    """What the target at a place may be."""

    prefixes: tuple[str, ...]
    kinds: tuple[str, ...] = ()  # classes, one of which it extends; or protocols, whose methods it has
    entries: bool = False  # a group of named entries (`logger.wandb`), each with a target of its own


MODULE = ("torch.nn.Module",)
LAYER = Rule(("convarium.layers.", "torch.nn."), MODULE)
AUGMENT = "convarium.data.augment."
CALLBACK = ("lightning.pytorch.Callback",)
RULES = {
    "arch": Rule(("convarium.archs.", *LAYER.prefixes, "torchvision.models."), MODULE),
    "parts": Rule(("convarium.layers.",), ("convarium.layers.Parts",)),
    "norm": LAYER,
    "activation": LAYER,
    "pool": LAYER,
    "init": Rule(("convarium.layers.init.",), ("types.NoneType",)),
    "data": Rule(("convarium.data.",), ("lightning.pytorch.LightningDataModule",)),
    "augment": Rule(
        (AUGMENT,), (f"{AUGMENT}change.Change", f"{AUGMENT}change.Crop", f"{AUGMENT}mix.Mix"), entries=True
    ),
    "loss": Rule(("convarium.learn.losses.",), MODULE),
    "metrics": Rule(("convarium.learn.metrics.", "torchmetrics."), ("torchmetrics.Metric",), entries=True),
    "optimizer": Rule(("convarium.learn.optimizers.", "torch.optim."), ("torch.optim.Optimizer",)),
    "schedule": Rule(("convarium.learn.schedules.",), ("convarium.learn.schedules.Schedule",)),
    "clip": Rule(("convarium.learn.clipping.",), ("convarium.learn.clipping.ClipStats",)),
    "average": Rule(("convarium.learn.averaging.",), ("convarium.learn.averaging.Rule",)),
    "trainer": Rule(("lightning.pytorch.Trainer", "lightning.pytorch.trainer."), ("lightning.pytorch.Trainer",)),
    "precision": Rule(("convarium.run.devices.",), ("convarium.run.devices.Precision",)),
    "stop": Rule(("convarium.learn.stopping.", "lightning.pytorch.callbacks."), CALLBACK),
    "logger": Rule(
        ("convarium.observe.", "lightning.pytorch.loggers."), ("lightning.pytorch.loggers.Logger",), entries=True
    ),
    "callbacks": Rule(
        ("convarium.observe.", "convarium.run.checkpoint.", "lightning.pytorch.callbacks."), CALLBACK, entries=True
    ),
}
PARTS = ("norm", "activation", "pool", "init")  # an architecture refuses them by the names of their groups
WITHIN = {
    "arch.parts": RULES["parts"],
    **{f"{parts}.{part}": RULES[part] for parts in ("parts", "arch.parts") for part in PARTS},
    "data.augment.*": RULES["augment"],
    "loss.main": RULES["loss"],
    "loss.heads[]": RULES["loss"],
}
"""The declared parts inside a group."""
NOTHING = Rule(())
# a prefix alone is too wide: evaluation metrics that fetch networks, detectors that fetch backbones
HOMES = {
    "torchmetrics.": re.compile(r"torchmetrics\.classification\."),
    "torchvision.": re.compile(r"torchvision\.models\.[a-z]\w*\.\w+$"),
}
FACTORIES = ("convarium.layers.", "convarium.learn.clipping.", "torchvision.models.")  # whose functions are taken
FETCHES = ("weights", "pretrained")
WRITES = ("lightning.pytorch.loggers.", "lightning.pytorch.callbacks.")  # into the folder of the run only
PLAIN_NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+")


def check_targets(config: dict[str, Any]) -> None:
    """Check by name every `_target_` of a resolved config; imports nothing.

    Raises ConfigError for a name that is not accepted at its place, for Hydra's other special keys (`_args_`, ...), and
    for a path among the arguments of a logger or callback of Lightning's.
    """
    for key, node in targets(config):
        _check_name(node, key)
        if node["_target_"].startswith(WRITES):
            _check_no_path({name: value for name, value in node.items() if name not in ("_target_", "monitor")}, key)


def find_target(node: dict[str, Any], key: str) -> Any:
    """The class or function that a node's `_target_` names, after the checks of name, identity and kind."""
    rule = _rule(key)
    _check_name(node, key)
    path: str = node["_target_"]
    try:
        target = _import(path)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{key}._target_={path}: not found ({error})") from error
    if not inspect.isclass(target) and not inspect.isfunction(target):
        raise ConfigError(f"{key}._target_={path}: neither a class nor a function")
    home = f"{target.__module__}.{target.__qualname__}"
    narrower = next((pattern for prefix, pattern in HOMES.items() if home.startswith(prefix)), None)
    own = home.startswith(trust().prefixes)
    if "." in target.__qualname__ or not (
        own or (home.startswith(rule.prefixes) and (narrower is None or narrower.match(home)))
    ):
        raise ConfigError(f"{key}._target_={path}: is really {home}, which is not allowed there")
    if inspect.isclass(target):
        check_kind(target, key, f"{key}._target_={path}: is not")
    elif not own:
        check_kind(_returned(target) if home.startswith(FACTORIES) else None, key, f"{key}._target_={path}: is not")
    for name in node:
        if home.startswith("torchvision.") and str(name).startswith(FETCHES):
            raise ConfigError(f"{key}.{name}: has no place there; write weights=torchvision:NAME, or a file")
    return target


def check_kind(found: Any, key: str, problem: str) -> None:
    """Raise ConfigError unless a class is of a kind that is accepted at a place."""
    kinds = _rule(key).kinds
    if kinds and not (inspect.isclass(found) and any(_is_of_kind(found, _import(kind)) for kind in kinds)):
        raise ConfigError(f"{problem} a {' or '.join(kinds)}")


def _returned(function: Any) -> Any:
    """What a function says that it returns; None if it says nothing, or nothing that can be looked up."""
    try:
        return typing.get_type_hints(function).get("return")
    except (NameError, TypeError):
        return None


def _is_of_kind(found: type, kind: type) -> bool:
    if not getattr(kind, "_is_protocol", False):
        return issubclass(found, kind)
    methods = [name for name in vars(kind) if name == "__call__" or not name.startswith("_")]
    return all(any(name in vars(parent) for parent in found.__mro__[:-1]) for name in methods)


def targets(node: Any, key: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node that names a target, by its dotted key."""
    if isinstance(node, list):
        for place, item in enumerate(node):
            yield from targets(item, f"{key}[{place}]")
    elif isinstance(node, dict):
        if any(str(name).startswith("_") and str(name).endswith("_") for name in node):
            yield key, node
        for name, item in node.items():
            yield from targets(item, f"{key}.{name}" if key else str(name))


def _rule(key: str) -> Rule:
    place = re.sub(r"\[\d+\]", "[]", key)
    group, dot, inside = place.partition(".")
    rule = RULES.get(group, NOTHING)
    if rule.entries == bool(dot) and "[" not in place and "." not in inside:
        return rule
    return WITHIN.get(place, WITHIN.get(f"{place.rpartition('.')[0]}.*", NOTHING))


def _check_name(node: dict[str, Any], key: str) -> None:
    for name in node:
        if str(name).startswith("_") and str(name).endswith("_") and name not in ("_target_", "_partial_"):
            raise ConfigError(f"{key}.{name}: not allowed; accepted: _target_, _partial_")
    path = node.get("_target_")
    accepted = (*_rule(key).prefixes, *trust().prefixes)
    if not isinstance(path, str) or not PLAIN_NAME.fullmatch(path) or not path.startswith(accepted):
        among = ", ".join(f"{prefix}*" for prefix in accepted) or "nothing"
        raise ConfigError(
            f"{key}._target_={path}: not allowed there; accepted: {among} (CONVARIUM_TRUST=package admits your own)"
        )


def _check_no_path(value: Any, key: str) -> None:
    if isinstance(value, dict):
        for name, item in value.items():
            _check_no_path(item, f"{key}.{name}")
    elif isinstance(value, list):
        for item in value:
            _check_no_path(item, key)
    elif isinstance(value, str) and (os.sep in value or value.startswith(("~", ".."))):
        raise ConfigError(f"{key}={value}: no path is accepted; Lightning's classes write into the run's folder")


def _import(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)
