"""ResNets: as torchvision and timm have them for ImageNet, and as many have them for images of 32 pixels."""

import re
from functools import partial

import torch

from convarium.archs.weights.layout import IMAGENET, PAPER_STEM, RELU, RGB, Layout, Settings, State, crop, renamed

EPS = {"norm.eps": 1e-5}
CIFAR10 = {"data.mean": [0.4914, 0.4822, 0.4465], "data.std": [0.2023, 0.1994, 0.2010]}  # as kuangliu and others round


def _in_block(match: re.Match[str]) -> str:
    stage, block, kind, number = match.groups()
    return f"stages.{int(stage) - 1}.{block}.body.{int(number) - 1}.{'conv' if kind == 'conv' else 'norm'}"


def _shortcut(match: re.Match[str]) -> str:
    stage, block, number = match.groups()
    return f"stages.{int(stage) - 1}.{block}.shortcut.{('conv', 'norm')[int(number)]}"


def _has_bottlenecks(state: State) -> bool:
    return "layer1.0.conv3.weight" in state


def _has_projections(state: State) -> bool:
    return any(".shortcut." in key or ".downsample." in key for key in state)


def _is_for_small_images(state: State) -> bool:
    stem = state.get("conv1.weight")
    return stem is not None and stem.shape[2:] == (3, 3)


def _deep(state: State) -> Settings:
    stride = {"arch.downsample_in": "3x3"} if _has_bottlenecks(state) else {}
    stem = {"arch.stem": "small"} if _is_for_small_images(state) else PAPER_STEM | IMAGENET
    return RELU | EPS | {"arch.shortcut": "B"} | stride | stem


def _shallow(state: State) -> Settings:
    return RELU | EPS | {"arch.shortcut": "B" if _has_projections(state) else "A"}


def _small_view(state: State) -> Settings:
    classifier = state.get("fc.weight", state.get("linear.weight"))
    return crop(32, of=32) | (CIFAR10 if classifier is not None and classifier.shape[:1] == (10,) else {})


def _assumed(state: State) -> tuple[str, ...]:
    stride = ("a bottleneck's stride in its 3x3",) if _has_bottlenecks(state) else ()
    zeros = () if _has_projections(state) else ("shortcuts with zeros on both sides of the maps",)
    facts = ("relu", "a norm's eps of 1e-5", *stride)
    if _is_for_small_images(state):
        return (*facts, *zeros, "a stem of stride 1 without pooling", "colours as data.mean and data.std say")
    return (*facts, "max pooling, nothing blurred", RGB)


def _pad_behind(state: State) -> State:
    """Renumber the maps of stages 2 and 3, so that shortcut A may put the new maps behind the old ones.

    They were put half before and half behind them; the order of maps is no part of the function.
    """
    if _has_projections(state):
        return state
    out = dict(state)
    order = torch.arange(len(state["stem.conv.weight"]))  # our map i is the file's map order[i]
    blocks = {key.partition(".body.")[0] for key in state if ".body." in key}
    for block in sorted(blocks, key=lambda name: [int(number) for number in re.findall(r"\d+", name)]):
        first, last = f"{block}.body.0.conv.weight", f"{block}.body.1.conv.weight"
        out[first] = state[first][:, order]
        width = len(state[last])
        if width > len(order):
            before = (width - len(order)) // 2
            new = [number for number in range(width) if not before <= number < before + len(order)]
            order = torch.cat([before + order, torch.tensor(new)])
        out[last] = state[last][order]
        for norm in (f"{block}.body.1.norm.{leaf}" for leaf in ("weight", "bias", "running_mean", "running_var")):
            out[norm] = state[norm][order]
    out["classifier.weight"] = state["classifier.weight"][:, order]
    return out


NAMES = renamed(
    (r"conv1", "stem.conv"),
    (r"bn1", "stem.norm"),
    (r"layer(\d)\.(\d+)\.(conv|bn)(\d)", _in_block),
    (r"layer(\d)\.(\d+)\.(?:downsample|shortcut)\.([01])", _shortcut),
    (r"fc|linear", "classifier"),
)
FOUR_STAGES = ("conv1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight", "layer4.0.conv2.weight")
THREE_STAGES = ("conv1.weight", "layer1.0.conv1.weight", "layer3.0.conv1.weight")
NOT_THREE = (*FOUR_STAGES[2:], "layer1.0.conv3.weight")
FC, LINEAR = ("fc.weight", "fc.bias"), ("linear.weight", "linear.bias")
_layout = partial(Layout, names=NAMES, assumes=_assumed, view=_small_view)
LAYOUTS = (
    _layout(
        "ResNet of torchvision and timm",
        marks=FOUR_STAGES + FC,
        sets=_deep,
        view=lambda state: _small_view(state) if _is_for_small_images(state) else crop(224, of=256),
        models=("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    ),
    _layout("ResNet of kuangliu's pytorch-cifar", marks=FOUR_STAGES + LINEAR, sets=_deep),
    _layout(
        "CIFAR ResNet in torchvision's keys",
        marks=THREE_STAGES + FC,
        lacks=NOT_THREE,
        sets=_shallow,
        convert=_pad_behind,
    ),
    _layout(
        "CIFAR ResNet (pytorch_resnet_cifar10)",
        marks=THREE_STAGES + LINEAR,
        lacks=NOT_THREE,
        sets=lambda state: IMAGENET | _shallow(state),  # not CIFAR's own figures of colour
        assumes=lambda state: (*_assumed(state)[:-1], RGB),
        view=lambda state: crop(32, of=32),
        convert=_pad_behind,
    ),
)
