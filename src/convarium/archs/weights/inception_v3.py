"""Inception-v3 of torchvision, which counts the padding in its averages and has images of -1 to 1."""

import re

from convarium.archs.weights.layout import MINUS_ONE_TO_ONE, PAPER_STEM, RELU, Layout, Settings, State, crop, renamed

STEM = {"1a_3x3": 0, "2a_3x3": 1, "2b_3x3": 2, "3b_1x1": 4, "4a_3x3": 5}  # poolings counted
BRANCHES = {
    "1x1": "conv1",
    "3x3": "conv3",
    "3x3dbl": "double3",
    "5x5": "conv5",
    "7x7": "conv7",
    "7x7dbl": "double7",
    "7x7x3": "conv7",
    "_pool": "pool.1",
}
FORKS = {"": "", "a": ".across.0", "b": ".down.0"}
LAYERS = {"conv": "conv", "bn": "norm"}


def _in_module(match: re.Match[str]) -> str:
    module, branch, number, fork, layer = match.groups(default="")
    rows = "to_7c" if module.startswith("7") else "to_6e"
    place = "" if branch == "_pool" else f".{int(number or 1) - 1}"
    return f"{rows}.{module}.{BRANCHES[branch]}{place}{FORKS[fork]}.{LAYERS[layer]}"


def _sets(state: State) -> Settings:
    heads = {} if any(key.startswith("AuxLogits.") for key in state) else {"arch.aux_heads": False}
    parts = {"pool": ("paper",), "norm": ("paper", "batch", "sync_batch"), "norm.eps": 1e-3}
    return MINUS_ONE_TO_ONE | RELU | PAPER_STEM | parts | {"arch.count_padding": True} | heads


LAYOUTS = (
    Layout(
        "Inception-v3 of torchvision",
        marks=("Conv2d_1a_3x3.conv.weight", "Mixed_5b.branch1x1.conv.weight", "Mixed_7c.branch1x1.conv.weight"),
        names=renamed(
            (rf"Conv2d_({'|'.join(STEM)})\.(conv|bn)", lambda match: f"stem.{STEM[match[1]]}.{LAYERS[match[2]]}"),
            (rf"Mixed_(\d\w)\.branch({'|'.join(BRANCHES)})(?:_(\d)([ab])?)?\.(conv|bn)", _in_module),
            (r"AuxLogits\.conv0\.(conv|bn)", lambda match: f"aux.0.reduce.{LAYERS[match[1]]}"),
            (r"AuxLogits\.conv1\.(conv|bn)", lambda match: f"aux.0.conv.{LAYERS[match[1]]}"),
            (r"AuxLogits\.fc", "aux.0.classifier"),
            (r"fc", "classifier"),
        ),
        sets=_sets,
        view=lambda state: crop(299, of=342),
        assumes=lambda state: ("relu", "a norm's eps of 1e-3", "averages that count the padding", "images of -1 to 1"),
        models=("inception_v3",),
    ),
)
