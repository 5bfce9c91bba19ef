"""From a config node to the object it names, by an allow-list.

A config may come from somebody else, so a `_target_` is data: its name must lie under a prefix accepted for its group
(`check_targets`, no torch, before anything is imported), and what the name leads to must really be defined there and
be of the group's kind (`build`, before it is called; of a function, what it returns). One's own Python is admitted by
the environment (`convarium.config.trust`), never by a config.
"""

import functools
import inspect
import re
import typing
from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

from convarium.config.trust import trust
from convarium.errors import ConfigError
from convarium.wording import nearest


class Rule(NamedTuple):
    """What the targets inside one group may be."""

    prefixes: tuple[str, ...]
    kind: str | None = None  # the class that the group's own target must extend; None: a class or function
    entries: bool = False  # the group holds named entries (`logger.wandb`), each with a target of its own


LAYERS = ("convarium.layers.", "torch.nn.")
RULES = {
    "arch": Rule(("convarium.archs.", *LAYERS, "torchvision.models."), "torch.nn.Module"),
    "parts": Rule(LAYERS),
    "norm": Rule(LAYERS),
    "activation": Rule(LAYERS),
    "pool": Rule(LAYERS),
    "init": Rule(("convarium.layers.",)),
    "data": Rule(("convarium.data.",), "lightning.pytorch.LightningDataModule"),
    "augment": Rule(("convarium.data.augment.",), None, True),
    "loss": Rule(("convarium.learn.",), "torch.nn.Module"),
    "metrics": Rule(("convarium.learn.", "torchmetrics."), "torchmetrics.Metric", True),
    "optimizer": Rule(("convarium.learn.", "torch.optim."), "torch.optim.Optimizer"),
    "schedule": Rule(("convarium.learn.",)),
    "clip": Rule(("convarium.learn.",)),
    "average": Rule(("convarium.learn.",)),
    "trainer": Rule(("lightning.pytorch.Trainer", "lightning.pytorch.trainer."), "lightning.pytorch.Trainer"),
    "precision": Rule(("convarium.run.devices.",), "convarium.run.devices.Precision"),
    "stop": Rule(("convarium.learn.", "lightning.pytorch.callbacks."), "lightning.pytorch.Callback"),
    "logger": Rule(("convarium.observe.", "lightning.pytorch.loggers."), "lightning.pytorch.loggers.Logger", True),
    "callbacks": Rule(
        ("convarium.observe.", "convarium.run.checkpoint.", "lightning.pytorch.callbacks."),
        "lightning.pytorch.Callback",
        True,
    ),
}
NOTHING = Rule(())

# Outside our own packages a prefix alone is too wide (torch.nn.utils, torch.nn.Module.load_state_dict): a class of
# this kind is asked for, wherever in a group it stands.
FOREIGN_KINDS = {
    "torch.nn.": "torch.nn.Module",
    "torchvision.models.": "torch.nn.Module",
    "torchmetrics.": "torchmetrics.Metric",
    "torch.optim.": "torch.optim.Optimizer",
    "lightning.pytorch.callbacks.": "lightning.pytorch.Callback",
    "lightning.pytorch.loggers.": "lightning.pytorch.loggers.Logger",
}
PLAIN_NAME = re.compile(r"[A-Za-z]\w*(\.[A-Za-z]\w*)+")


def check_targets(config: dict[str, Any]) -> None:
    """Check by name every `_target_` of a resolved config; imports nothing.

    Raises ConfigError for a name outside its group's prefixes and for Hydra's other special keys (`_args_`, ...).
    """
    for key, node in _targets(config, ""):
        _check_name(node, key)


PARTS = ("norm", "activation", "pool", "init")  # an architecture refuses them by the names of their groups
# what an architecture is told of the data
FROM_DATA = {"in_channels": "data.channels", "num_classes": "data.num_classes", "image_size": "data.image_size"}


def build(node: Any, key: str) -> Any:
    """Build what a resolved config node describes; `key` is its dotted place in the config, e.g. "optimizer".

    A dict with `_target_` becomes the object, or with `_partial_: true` a functools.partial; dicts and lists are
    built item by item; anything else is returned as it is. Raises ConfigError for a target that is not allowed or
    does not exist, for keys that it does not take or lacks, and for a ValueError out of its constructor.
    """
    if isinstance(node, list):
        return [build(item, f"{key}[{place}]") for place, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    if "_target_" not in node:
        return {name: build(item, f"{key}.{name}") for name, item in node.items()}
    target = find_target(node, key)
    arguments = {
        name: build(item, f"{key}.{name}") for name, item in node.items() if name not in ("_target_", "_partial_")
    }
    partial = bool(node.get("_partial_", False))
    _check_arguments(target, arguments, partial, key)
    if partial:
        return functools.partial(target, **arguments)
    try:
        built = target(**arguments)
    except (ValueError, ModuleNotFoundError) as error:
        raise ConfigError(_in_terms_of_keys(key, node, str(error))) from error
    kind = _kind_of_group(key, _rule(key))
    if kind is not None and not inspect.isclass(target) and not isinstance(built, _import(kind)):
        raise ConfigError(f"{key}._target_={node['_target_']}: returned a {type(built).__name__}, not a {kind}")
    return built


def _in_terms_of_keys(key: str, node: dict[str, Any], message: str) -> str:
    """What a constructor objects to, by the key that a person would change, with the nearest of what it accepts."""
    if message.startswith((f"{key}.", *(f"{part}: " for part in PARTS))):
        return message
    match = re.match(r"(\w+)=(.*?): ", message)
    if match is None or match[1] not in node:
        return f"{key}: {message}"
    name, value = match.groups()
    accepted = message.partition(": accepted are ")[2].split(", ")
    hint = nearest(value, accepted).removesuffix(".")
    changed = FROM_DATA.get(name, f"{key}.{name}") if key == "arch" else f"{key}.{name}"
    return f"{changed}{message.removeprefix(name)}{hint}"


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
    if "." in target.__qualname__ or not home.startswith((*rule.prefixes, *trust().prefixes)):
        raise ConfigError(f"{key}._target_={path}: is really {home}, which is not allowed there")
    foreign = (kind for prefix, kind in FOREIGN_KINDS.items() if home.startswith(prefix))
    for kind in filter(None, (_kind_of_group(key, rule), *foreign)):
        own_function = inspect.isfunction(target) and home.startswith(trust().prefixes)
        if not own_function and not _is_of_kind(target, _import(kind)):
            raise ConfigError(f"{key}._target_={path}: is not a {kind}")
    if home.startswith("torchvision.") and "weights" in node:
        raise ConfigError(f"{key}.weights: has no place there; write weights=torchvision:NAME, or a file")
    return target


def _is_of_kind(target: Any, kind: type) -> bool:
    """Whether a class is of a kind, or a function says that it returns one."""
    if inspect.isfunction(target):
        target = typing.get_type_hints(target).get("return")
    return inspect.isclass(target) and issubclass(target, kind)


def _targets(node: Any, key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, list):
        for place, item in enumerate(node):
            yield from _targets(item, f"{key}[{place}]")
    elif isinstance(node, dict):
        if any(str(name).startswith("_") and str(name).endswith("_") for name in node):
            yield key, node
        for name, item in node.items():
            yield from _targets(item, f"{key}.{name}" if key else str(name))


def _rule(key: str) -> Rule:
    return RULES.get(re.split(r"[.\[]", key, maxsplit=1)[0], NOTHING)


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


def _kind_of_group(key: str, rule: Rule) -> str | None:
    """What the object at a dotted key must be by its group; None for what stands deeper inside."""
    return rule.kind if key.count(".") == (1 if rule.entries else 0) and "[" not in key else None


def _import(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def _check_arguments(target: Any, arguments: dict[str, Any], partial: bool, key: str) -> None:
    """Bind the arguments now: a partial would report a wrong one only when it is called."""
    signature = inspect.signature(target)
    bind = signature.bind_partial if partial else signature.bind
    try:
        bind(**arguments)
    except TypeError as error:
        names = [
            name for name, parameter in signature.parameters.items() if parameter.kind is not parameter.VAR_KEYWORD
        ]
        for name in arguments:
            if name not in names:
                hint = f"{nearest(name, names)} Accepted: {', '.join(names)}"
                raise ConfigError(f"{key}.{name}: {target.__qualname__} has no such argument{hint}") from error
        raise ConfigError(f"{key}: {target.__qualname__}: {error}") from error
