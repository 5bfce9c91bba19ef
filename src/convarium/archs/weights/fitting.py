"""Whether weights, by our names, are those of a network, and what is left of them for it."""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor, nn

from convarium.archs.weights.layout import State
from convarium.wording import counted

SHOWN = 3  # keys of each kind in a message
AUXILIARY = "aux."  # heads that a network may go without
COUNTER = "num_batches_tracked"  # of batch norm; older files have none


class Fitted(NamedTuple):
    """What a network takes over."""

    state: State
    new_heads: tuple[str, ...]
    """The classifiers that keep the values they have, for want of fitting ones."""
    classes: int
    """For how many the file has a classifier."""


def fit(net: nn.Module, state: State, names: Mapping[str, str] | None = None) -> Fitted:
    """The part of `state` that `net`, which may be without values, is to load; strict about all but classifiers.

    `names` are those in the file, by ours, for what is said of keys.

    A classifier for another number of classes is left out, with those of the auxiliary heads; so are auxiliary heads
    if the network has none. Raises ValueError, in one line, for keys that are missing, too many, or of another shape.
    """
    own = net.state_dict()
    if not any(key.startswith(AUXILIARY) for key in own):
        state = {key: value for key, value in state.items() if not key.startswith(AUXILIARY)}
    missing = [key for key in own if key not in state and not key.endswith(COUNTER)]
    extra = [key for key in state if key not in own]
    misshapen = [key for key in own if key in state and state[key].shape != own[key].shape]
    classifier = _module(list(dict(net.named_parameters()))[-1])
    weight = f"{classifier}.weight"
    classes = len(state[weight]) if weight in state and state[weight].ndim else 0
    heads: tuple[str, ...] = ()
    if weight in misshapen:
        others = {_module(key) for key in misshapen if not _is_head(own[key], state[key], len(own[weight]), classes)}
        if classifier not in others:
            heads = tuple(module for module in dict.fromkeys(map(_module, misshapen)) if module not in others)
    misshapen = [key for key in misshapen if _module(key) not in heads]
    names = names or {}
    shapes = [f"{names.get(key, key)} ({_shape(state[key])}, not {_shape(own[key])})" for key in misshapen]
    told = [
        *_told("missing", missing, " (by our names)" if names else ""),
        *_told("too many", [names.get(key, key) for key in extra]),
        *_told("of another shape", shapes),
    ]
    if told and not missing and not extra and all(key.startswith(AUXILIARY) for key in misshapen):
        told.append("its auxiliary heads are for images of another size; accepted: arch.aux_heads=false")
    if told:
        raise ValueError("; ".join(told))
    return Fitted({key: value for key, value in state.items() if _module(key) not in heads}, heads, classes)


def _module(key: str) -> str:
    return key.rpartition(".")[0]


def _is_head(own: Tensor, other: Tensor, num_classes: int, classes: int) -> bool:
    """Whether two tensors differ only as the weights, or the biases, of classifiers of these numbers of classes do."""
    return own.shape == (num_classes, *own.shape[1:]) and other.shape == (classes, *own.shape[1:])


def _told(kind: str, keys: list[str], remark: str = "") -> list[str]:
    if not keys:
        return []
    more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return [f"{counted(len(keys), 'key')} {kind}{remark}: {', '.join(keys[:SHOWN])}{more}"]


def _shape(value: Tensor) -> str:
    return "x".join(map(str, value.shape)) or "a number"
