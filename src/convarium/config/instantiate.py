"""From a config node to the object it names, which `convarium.config.targets` admits."""

import functools
import inspect
import re
from typing import Any

from convarium.config.targets import PARTS, check_kind, find_target
from convarium.errors import ConfigError
from convarium.wording import nearest

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
    if not partial and not inspect.isclass(target):
        check_kind(type(built), key, f"{key}._target_={node['_target_']}: returned a {type(built).__name__}, not")
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
