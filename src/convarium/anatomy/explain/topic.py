"""What a topic is: a function with a docstring, whose keyword arguments are the keys. Any file of this folder has some.

def stack(why: Reasoning, *, layers: Annotated[int, Key("how many convolutions", 1, 50)] = 3) -> None:
    \"""What is answered, in a line

    Why: ...                                   (and "Often quoted: ...", each a paragraph)

    Source: ...
    \"""
    why.step("weights in units of C²", "layers * 3**2", "weights")
"""

import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from typing import Annotated, Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from convarium.anatomy import explain
from convarium.anatomy.explain.reasoning import Reasoning, Value, shown
from convarium.errors import ConfigError

MOST = 200  # numbers of a list


class Key(NamedTuple):
    """What a key means, and the numbers it takes: from `least` to `most`, of a list each, and at least `fewest`."""

    meaning: str
    least: float = 1
    most: float = 1e6
    fewest: int = 1


Side = Annotated[int, Key("side of the image or maps that come in", 1, 16384)]
Kernel = Annotated[int, Key("side of the window", 1, 99)]
Stride = Annotated[int, Key("step from window to window", 1, 99)]
Kernels = Annotated[list[int], Key("side of the window, layer by layer", 1, 99)]
Strides = Annotated[list[int], Key("step from window to window, layer by layer", 1, 99)]
Padding = Annotated[int, Key("zeros on every side", 0, 99)]
Dilation = Annotated[int, Key("step from pixel to pixel inside the window", 1, 99)]
InChannels = Annotated[int, Key("channels that come in")]
OutChannels = Annotated[int, Key("channels that go out, one a filter")]
Classes = Annotated[int, Key("classes")]
Hidden = Annotated[list[int], Key("units of the fully connected layers", fewest=0)]


class Given(NamedTuple):
    """A key of one topic."""

    key: Key
    kind: Any
    """int, float, bool, a Literal of words, or lists of these."""
    default: Value

    @property
    def words(self) -> tuple[str, ...]:
        """All that is accepted, where that is words."""
        if self.kind is bool:
            return ("true", "false")
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()

    @property
    def accepted(self) -> str:
        """What is accepted, for a person."""
        if self.words:
            return " or ".join(self.words)
        kind, form = self.kind, "a {}"
        while get_origin(kind) is list:
            [kind], form = get_args(kind), "a list of {}s" if form == "a {}" else "rows of {}s, [[1,2],[3,4]],"
        number = "whole number" if kind is int else "number"
        return f"{form.format(number)} from {shown(self.key.least)} to {shown(self.key.most)}"

    def read(self, name: str, text: str) -> Value:
        """The value that a text is. Raises ConfigError, which says what is accepted, for any other."""
        try:
            value = text if get_origin(self.kind) is Literal else json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not self._takes(self.kind, value):
            raise ConfigError(f"{name}={text}: expected {self.accepted}")
        return value

    def _takes(self, kind: Any, value: Value) -> bool:
        if get_origin(kind) is list:
            is_list = isinstance(value, list) and self.key.fewest <= len(value) <= MOST
            return is_list and all(self._takes(get_args(kind)[0], one) for one in value)
        if self.words:
            return value in get_args(kind) or isinstance(value, bool)
        is_number = type(value) is int or (kind is float and type(value) is float)
        return is_number and self.key.least <= value <= self.key.most


@dataclass(frozen=True)
class Topic:
    """A topic, as its function declares it."""

    function: Callable[..., None]

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def paragraphs(self) -> list[str]:
        """The docstring: what is answered; then why it matters, what is often quoted; at last the source."""
        return [" ".join(text.split()) for text in (inspect.getdoc(self.function) or "").split("\n\n")]

    @property
    def keys(self) -> dict[str, Given]:
        """The keyword arguments."""
        hints = get_type_hints(self.function, include_extras=True)
        found = {}
        for name, parameter in list(inspect.signature(self.function).parameters.items())[1:]:
            kind, key = get_args(hints[name])
            found[name] = Given(key, kind, parameter.default)
        return found

    def explain(self, texts: Mapping[str, str]) -> Reasoning:
        """The answer for keys by their texts, the others by their defaults. Raises ConfigError for what cannot be."""
        given = {name: key.read(name, texts[name]) if name in texts else key.default for name, key in self.keys.items()}
        why = Reasoning(given)
        self.function(why, **given)
        return why


@cache
def topics() -> dict[str, Topic]:
    """Every public function with a Reasoning as its first argument, of every file of this folder."""
    modules = [import_module(f"{explain.__name__}.{module.name}") for module in iter_modules(explain.__path__)]
    functions = [each for module in modules for each in vars(module).values() if inspect.isfunction(each)]
    return {each.__name__: Topic(each) for each in functions if _is_topic(each)}


def _is_topic(function: Callable[..., object]) -> bool:
    return next(iter(function.__annotations__.values()), None) is Reasoning and not function.__name__.startswith("_")


def require_one_a_layer(**lists: Sequence[float]) -> None:
    """Raise ConfigError unless all lists, by their keys, have as many items."""
    (first, one), *others = lists.items()
    for name, other in others:
        if len(other) != len(one):
            raise ConfigError(
                f"{name}: {len(other)} numbers, but {first} has {len(one)}; expected as many, also of defaults"
            )


def require_room(size: int, span: int, padding: int = 0, key: str = "size") -> None:
    """Raise ConfigError unless a window that spans so many pixels fits into the image with its padding."""
    if span > size + 2 * padding:
        raise ConfigError(f"{key}: {size} pixels and {padding} zeros on each side have no room for a window of {span}")
