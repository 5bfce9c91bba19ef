"""EfficientNets of torchvision: padded on all sides, gates of 1x1 convolutions, two kinds of epsilon.

Their published errors were measured on images resized bicubically; ours are resized bilinearly.
"""

import re

from convarium.archs.weights.layout import IMAGENET, PAPER_STEM, RGB, Layout, Settings, State, changed, crop, renamed

LAYERS = {"0": "conv", "1": "norm"}
GATE = {"fc1": "squeeze", "fc2": "excite"}
VIEWS = {  # size and resized shorter side, by the maps before the classifier and the blocks of the last but one stage
    (1280, 4): (224, 256),
    (1280, 5): (240, 256),
    (1408, 5): (288, 288),
    (1536, 6): (300, 320),
    (1792, 8): (380, 384),
    (2048, 9): (456, 456),
    (2304, 11): (528, 528),
    (2560, 13): (600, 600),
}
FIRST_OF_TENSORFLOW = 2048  # maps: B5 to B7 were trained elsewhere than B0 to B4


def _in_block(match: re.Match[str]) -> str:
    stage, block, place, layer = match.groups()
    body = "" if block == "0" else "body."  # the first block of a stage has another width than its input
    return f"stages.{int(stage) - 1}.{block}.{body}{place}.{LAYERS.get(layer) or GATE[layer]}"


def _maps(state: State) -> int:
    weight = state.get("classifier.1.weight")
    return weight.shape[-1] if weight is not None and weight.ndim else 0


def _eps(state: State) -> float:
    return 1e-3 if _maps(state) >= FIRST_OF_TENSORFLOW else 1e-5


def _sets(state: State) -> Settings:
    eps = _eps(state)
    norms = ("paper", "batch", "sync_batch") if eps == 1e-3 else ("batch", "sync_batch")
    parts = {"activation": ("paper", "silu"), "pool": ("paper",)}
    return IMAGENET | PAPER_STEM | parts | {"norm": norms, "norm.eps": eps, "arch.padding": "symmetric"}


def _view(state: State) -> Settings:
    blocks = len({key.split(".")[2] for key in state if key.startswith("features.6.")})
    sizes = VIEWS.get((_maps(state), blocks))
    return crop(*sizes) if sizes else {}


LAYOUTS = (
    Layout(
        "EfficientNet of torchvision",
        marks=("features.0.0.weight", "features.1.0.block.1.fc1.weight", "features.8.0.weight", "classifier.1.weight"),
        names=renamed(
            (r"features\.0\.([01])", lambda match: f"stem.{LAYERS[match[1]]}"),
            (r"features\.8\.([01])", lambda match: f"head.{LAYERS[match[1]]}"),
            (r"features\.([1-7])\.(\d+)\.block\.(\d)\.(0|1|fc1|fc2)", _in_block),
            (r"classifier\.1", "classifier"),
        ),
        sets=_sets,
        assumes=lambda state: ("silu", f"a norm's eps of {_eps(state):g}", "the same padding on all sides", RGB),
        view=_view,
        # 1x1 convolutions of one pixel are linear layers
        convert=changed(lambda weight: weight.flatten(1), "squeeze.weight", "excite.weight"),
        models=tuple(f"efficientnet_b{number}" for number in range(8)),
    ),
)
