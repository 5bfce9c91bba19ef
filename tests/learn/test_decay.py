"""Which parameters weight decay touches, in principle and for every architecture."""

import os
from pathlib import Path

import pytest
from torch import nn

from archs.catalog import NAMES, REPRESENTATIVES
from archs.networks import make_published
from convarium.learn.decay import classifier_names, parameter_groups, roles

GOLDEN = Path(__file__).parent / "golden_decay"
WRITE = bool(os.environ.get("CONVARIUM_WRITE_GOLDENS"))
# the representatives must have one, of the others those that have one are compared
WITH_GOLDEN = [name for name in NAMES if WRITE or name in REPRESENTATIVES or (GOLDEN / f"{name}.txt").exists()]


def names_in_groups(net: nn.Module, decay: str) -> dict[str, list[str]]:
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    groups = parameter_groups(net, weight_decay=0.1, decay=decay)  # type: ignore[arg-type]
    return {f"{group['name']} {group['weight_decay']}": [names[id(p)] for p in group["params"]] for group in groups}


def test_only_weights_of_convolutions_and_linear_layers_decay(net: nn.Sequential) -> None:
    assert names_in_groups(net, "weights") == {
        "decay 0.1": ["0.weight", "3.weight", "7.weight", "9.weight"],
        "plain 0.0": ["1.weight", "1.bias", "3.bias", "7.bias", "9.bias"],
    }


def test_decay_all_puts_every_parameter_into_one_group(net: nn.Sequential) -> None:
    assert names_in_groups(net, "all") == {"decay 0.1": [name for name, _ in net.named_parameters()]}


def test_a_matrix_that_no_convolution_or_linear_layer_owns_does_not_decay() -> None:
    net = nn.Sequential(nn.Embedding(3, 4), nn.LayerNorm([2, 4]), nn.ConvTranspose2d(2, 2, 3), nn.Linear(4, 2))
    assert names_in_groups(net, "weights")["decay 0.1"] == ["2.weight", "3.weight"]


def test_shared_parameters_come_once_and_frozen_ones_not_at_all() -> None:
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3))
    net[1].weight = net[0].weight
    net[2].requires_grad_(False)
    assert names_in_groups(net, "weights") == {"decay 0.1": ["0.weight"], "plain 0.0": ["0.bias", "1.bias"]}


def test_the_classifier_is_all_that_the_owner_of_the_last_parameter_owns(net: nn.Sequential) -> None:
    assert classifier_names(name for name, _ in net.named_parameters()) == {"9.weight", "9.bias"}
    assert classifier_names([]) == frozenset()


@pytest.mark.parametrize("name", WITH_GOLDEN)
def test_an_architecture_decays_what_its_golden_file_says(name: str) -> None:
    net, _ = make_published(name)
    table = "".join(f"{role.name} {'decay' if role.decays else 'plain'}\n" for role in roles(net))
    golden = GOLDEN / f"{name}.txt"
    if WRITE:
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(table)
    assert golden.exists(), f"no {golden.name}: CONVARIUM_WRITE_GOLDENS=1 writes it; read it before you commit it"
    assert table == golden.read_text()
