"""What a layout is: how a publisher names the weights of a family, and what he knows that their shapes cannot tell."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

State = dict[str, Tensor]
Names = Callable[[Iterable[str]], dict[str, str]]  # the publisher's keys -> ours, of those that it knows
Settings = dict[str, Any]  # keys of an experiment's config and their values

KNOWN = 0.5  # share of the keys of a file that a layout names, at the least


def crop(image_size: int, of: int) -> Settings:
    """The central crop of this side, of images whose shorter side is resized to `of`."""
    return {"data.image_size": image_size, "data.crop_share": round(image_size / of, 6)}


@dataclass(frozen=True, eq=False)
class Layout:
    """One publisher's way with one family of networks.

    `sets` are the keys of an experiment on which the function depends, decided by what is in the file: any other value
    is an error. A value that is a tuple lists what is accepted, what is set first. `view` are those of how the images
    were shown when the published error was measured, which may be changed. `assumes` says in words what neither the
    keys nor the shapes of a file can tell: other networks have the same, and would compute something else here.
    """

    name: str
    marks: tuple[str, ...]  # keys that every file of this layout has
    names: Names
    sets: Callable[[State], Settings]
    assumes: Callable[[State], tuple[str, ...]]
    view: Callable[[State], Settings] = lambda state: crop(224, of=256)  # as most for ImageNet
    convert: Callable[[State], State] = lambda state: state  # what is more than another name; of our names
    lacks: tuple[str, ...] = ()  # keys by which another layout is told apart
    models: tuple[str, ...] = ()  # as torchvision calls the networks whose weights it publishes in this layout

    def likeness(self, state: State) -> float:
        """The share of the marks that are there; 0 with a key of another layout, or if many keys have no name here."""
        known = len(self.names(state)) / len(state)
        if known < KNOWN or any(key in state for key in self.lacks):
            return 0.0
        return sum(key in state for key in self.marks) / len(self.marks)

    def ours(self, state: State) -> dict[str, str]:
        """Our name of each key; a key that is none of the layout's keeps its own."""
        names = self.names(state)
        return {key: names.get(key, key) for key in state}

    def translate(self, state: State) -> State:
        """The same weights under our names.

        Those that lack what the layout has, or have it in other shapes, are renamed only: no network takes them.
        """
        ours = self.ours(state)
        renamed = {ours[key]: value for key, value in state.items()}
        try:
            return self.convert(without_idle_biases(renamed))
        except (KeyError, IndexError, RuntimeError, TypeError):
            return renamed


def renamed(*table: tuple[str, str | Callable[[re.Match[str]], str]]) -> Names:
    """Names by the first line of the table whose pattern is the whole name of the module that holds the tensor."""
    compiled = [(re.compile(pattern), ours) for pattern, ours in table]

    def names(keys: Iterable[str]) -> dict[str, str]:
        found = {}
        for key in keys:
            module, _, leaf = key.rpartition(".")
            for pattern, ours in compiled:
                if (match := pattern.fullmatch(module)) is not None:
                    found[key] = f"{match.expand(ours) if isinstance(ours, str) else ours(match)}.{leaf}"
                    break
        return found

    return names


def changed(change: Callable[[Tensor], Tensor], *endings: str) -> Callable[[State], State]:
    """A conversion that changes the tensors whose names end so."""
    return lambda state: {key: change(value) if key.endswith(endings) else value for key, value in state.items()}


def without_idle_biases(state: State) -> State:
    """Move the bias of a convolution in front of a batch norm, which subtracts it again, into the norm's mean."""
    out = dict(state)
    for key in state:
        mean = f"{key.removesuffix('conv.bias')}norm.running_mean"
        if key.endswith("conv.bias") and mean in state:
            out[mean] = state[mean] - out.pop(key)
    return out


BATCH_NORM: Settings = {"norm": ("batch", "sync_batch"), "norm.eps": 1e-5}  # where the paper has none
NO_NORM: Settings = {"norm": ("none",)}  # whatever the paper has
PAPER_STEM: Settings = {"arch.stem": "paper"}  # also for images as small as get another by themselves
RELU: Settings = {"activation": ("paper", "relu"), "pool": ("paper", "max")}
RGB = "RGB from 0 to 1 less ImageNet's mean"
IMAGENET: Settings = {"data.mean": [0.485, 0.456, 0.406], "data.std": [0.229, 0.224, 0.225]}
MINUS_ONE_TO_ONE: Settings = {"data.mean": [0.5, 0.5, 0.5], "data.std": [0.5, 0.5, 0.5]}
