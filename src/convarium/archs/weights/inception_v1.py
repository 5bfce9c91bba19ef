"""GoogLeNet of torchvision: with batch norm, 3x3 where the paper has 5x5, another last pooling, images of -1 to 1."""

from torch.nn.functional import pad

from convarium.archs.weights.layout import (
    BATCH_NORM,
    MINUS_ONE_TO_ONE,
    PAPER_STEM,
    RELU,
    Layout,
    Settings,
    State,
    changed,
    renamed,
)

ROWS = {"to_4a": ("3a", "3b", "", "4a"), "to_4d": ("4b", "4c", "4d"), "to_5b": ("4e", "", "5a", "5b")}  # "": a pooling
PLACES = {module: f"{row}.{place}" for row, modules in ROWS.items() for place, module in enumerate(modules) if module}
STEM = {"1": "stem.0", "2": "stem.3", "3": "stem.4"}
BRANCHES = {
    "branch1": "branch1",
    "branch4.1": "branch_pool.1",
    "branch2.0": "branch3.0",
    "branch2.1": "branch3.1",
    "branch3.0": "branch5.0",
    "branch3.1": "branch5.1",
}
LAYERS = {"conv": "conv", "bn": "norm"}


def _sets(state: State) -> Settings:
    heads = {} if any(key.startswith("aux1.") for key in state) else {"arch.aux_heads": False}
    parts = {"pool": ("paper",)} | BATCH_NORM | {"norm.eps": 1e-3}
    return MINUS_ONE_TO_ONE | RELU | PAPER_STEM | parts | {"arch.last_pool": 2} | heads


LAYOUTS = (
    Layout(
        "GoogLeNet of torchvision",
        marks=("conv1.conv.weight", "inception3a.branch1.conv.weight", "fc.weight"),
        names=renamed(
            (rf"conv({'|'.join(STEM)})\.(conv|bn)", lambda match: f"{STEM[match[1]]}.{LAYERS[match[2]]}"),
            (
                rf"inception({'|'.join(PLACES)})\.({'|'.join(BRANCHES)})\.(conv|bn)",
                lambda match: f"{PLACES[match[1]]}.{BRANCHES[match[2]]}.{LAYERS[match[3]]}",
            ),
            (r"aux(\d)\.conv\.(conv|bn)", lambda match: f"aux.{int(match[1]) - 1}.conv.{LAYERS[match[2]]}"),
            (r"aux(\d)\.fc1", lambda match: f"aux.{int(match[1]) - 1}.hidden.0"),
            (r"aux(\d)\.fc2", lambda match: f"aux.{int(match[1]) - 1}.classifier"),
            (r"fc", "classifier"),
        ),
        sets=_sets,
        # a 3x3 kernel is a 5x5 one with a margin of zeros
        convert=changed(lambda kernel: pad(kernel, (1, 1, 1, 1)), "branch5.1.conv.weight"),
        assumes=lambda state: ("relu", "a norm's eps of 1e-3", "a last pooling of 2x2", "images of -1 to 1"),
        models=("googlenet",),
    ),
)
