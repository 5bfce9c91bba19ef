"""ResNets: as torchvision and timm have them for ImageNet, and as most have them for CIFAR-10."""

import re

import torch

from convarium.archs.weights.layout import IMAGENET, PAPER_STEM, RELU, Layout, Settings, State, crop, renamed

EPS = {"norm.eps": 1e-5}


def _in_block(match: re.Match[str]) -> str:
    stage, block, kind, number = match.groups()
    return f"stages.{int(stage) - 1}.{block}.body.{int(number) - 1}.{'conv' if kind == 'conv' else 'norm'}"


def _shortcut(match: re.Match[str]) -> str:
    stage, block, number = match.groups()
    return f"stages.{int(stage) - 1}.{block}.shortcut.{('conv', 'norm')[int(number)]}"


def _imagenet(state: State) -> Settings:
    stride = {"arch.downsample_in": "3x3"} if "layer1.0.conv3.weight" in state else {}  # of bottlenecks
    return IMAGENET | RELU | PAPER_STEM | EPS | {"arch.shortcut": "B"} | stride


def _cifar(state: State) -> Settings:
    option = "B" if any(".shortcut." in key for key in state) else "A"
    return IMAGENET | RELU | EPS | {"arch.shortcut": option}  # not CIFAR's own figures of colour


def _pad_behind(state: State) -> State:
    """Renumber the maps of stages 2 and 3, so that shortcut A may put the new maps behind the old ones.

    They were put half before and half behind them; the order of maps is no part of the function.
    """
    if any(".shortcut." in key for key in state):
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


TRUNK = ((r"conv1", "stem.conv"), (r"bn1", "stem.norm"), (r"layer(\d)\.(\d+)\.(conv|bn)(\d)", _in_block))
LAYOUTS = (
    Layout(
        "ResNet of torchvision and timm",
        marks=("conv1.weight", "layer1.0.conv1.weight", "layer4.0.conv1.weight", "fc.weight"),
        names=renamed(*TRUNK, (r"layer(\d)\.(\d+)\.downsample\.([01])", _shortcut), (r"fc", "classifier")),
        sets=_imagenet,
        models=("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
    ),
    Layout(
        "CIFAR ResNet (pytorch_resnet_cifar10)",
        marks=("conv1.weight", "layer1.0.conv1.weight", "layer3.0.conv1.weight", "linear.weight"),
        lacks=("layer4.0.conv1.weight", "layer1.0.conv3.weight"),
        names=renamed(*TRUNK, (r"layer(\d)\.(\d+)\.shortcut\.([01])", _shortcut), (r"linear", "classifier")),
        sets=_cifar,
        view=lambda state: crop(32, of=32),
        convert=_pad_behind,
    ),
)
