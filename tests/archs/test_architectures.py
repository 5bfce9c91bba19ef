"""The same questions to every architecture in conf/arch, which are found by themselves, mostly without values.

The first line of its yaml states an architecture's published size. Its file in golden/ holds five numbers of its
function with ramp-filled parameters: `PYTHONPATH=tests python tests/archs/test_architectures.py NAME...` writes it, and
a commit that changes one says why. The representatives must have one; of the others, those that have one are compared
by `make test-slow`.
"""

import json
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from archs.catalog import EACH, EACH_WITHOUT_VALUES, NAMES, REPRESENTATIVES, STATED, asked, stated
from archs.networks import fill_with_ramps, images, loss, make, make_published, member, ramp, small_size
from convarium.config.catalog import members
from convarium.layers import Parts

GOLDEN = Path(__file__).parent / "golden"
WITH_GOLDEN = [name for name in NAMES if name in REPRESENTATIVES or (GOLDEN / f"{name}.json").exists()]


def golden_logits(name: str) -> list[float]:
    """Five logits of two small images, in double precision, evaluating."""
    net = make(name).double().eval()
    fill_with_ramps(net)
    with torch.no_grad():
        logits = net(ramp(2, 1, small_size(name), small_size(name)))
    return [float(f"{value:.12g}") for value in logits.flatten()[::4].tolist()]


@pytest.mark.parametrize("name", NAMES)
def test_its_yaml_states_what_it_is(name: str) -> None:
    assert stated(name).parameters > 0


@pytest.mark.parametrize("name", NAMES)
def test_it_has_exactly_the_published_parameters(name: str) -> None:
    net, _ = make_published(name)
    assert sum(parameter.numel() for parameter in net.parameters()) == stated(name).parameters


@pytest.mark.parametrize("name", [name for name in NAMES if name in STATED and STATED[name].multiply_adds])
def test_it_makes_exactly_the_published_multiply_adds(name: str) -> None:
    net, image = make_published(name)
    with FlopCounterMode(display=False) as counter:
        net(image)
    assert counter.get_total_flops() == 2 * (stated(name).multiply_adds or 0)


@pytest.mark.parametrize("name", EACH_WITHOUT_VALUES)
@pytest.mark.parametrize(("channels", "num_classes"), [(1, 10), (3, 7), (3, 1)])
def test_it_gives_one_logit_a_class(name: str, channels: int, num_classes: int) -> None:
    with torch.device("meta"):
        net = make(name, channels=channels, num_classes=num_classes).eval()
        logits = net(images(name, 2, channels))
    assert logits.shape == (2, num_classes)


@pytest.mark.parametrize("name", EACH_WITHOUT_VALUES)
def test_the_final_classifiers_parameters_come_last(name: str) -> None:
    with torch.device("meta"):
        net = make(name).eval()
        last = net.get_submodule(list(dict(net.named_parameters()))[-1].rpartition(".")[0])
        outputs: list[Tensor] = []
        last.register_forward_hook(lambda module, inputs, output: outputs.append(output))
        logits = net(images(name, 2))
    assert outputs[-1] is logits


@pytest.mark.parametrize("name", asked(WITH_GOLDEN, REPRESENTATIVES))
def test_it_computes_the_same_function_as_yesterday(name: str) -> None:
    file = GOLDEN / f"{name}.json"
    assert file.exists(), f"write it: PYTHONPATH=tests python tests/archs/test_architectures.py {name}"
    assert golden_logits(name) == pytest.approx(json.loads(file.read_text()), rel=1e-8, abs=1e-10)


CHOICES = [(group, choice) for group in ("norm", "activation", "pool", "init") for choice in members(group)]
NEEDS_MAPS = "Expected more than 1 spatial element"  # torch, of instance norm on 1x1 maps


def train_without_values(name: str, group: str, choice: str) -> None:
    with torch.device("meta"):
        net = make(name, parts=Parts(**{group: member(group, choice)}))
        loss(net(images(name, 2)), torch.zeros(2, dtype=torch.long)).backward()


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_it_works_with_every_part_or_refuses_it_by_name(name: str, group: str, choice: str) -> None:
    refused = ""
    try:
        train_without_values(name, group, choice)
    except ValueError as error:
        refused = str(error)
    by_torch = choice == "instance" and NEEDS_MAPS in refused
    assert not refused or by_torch or (choice != "paper" and refused.startswith(f"{group}: ")), refused


@pytest.mark.parametrize(
    ("name", "group", "choice", "why"),
    [
        ("logistic_regression", "norm", "batch", "no hidden layer"),
        ("logistic_regression", "activation", "relu", "no hidden layer"),
        ("logistic_regression", "pool", "max", "no maps to pool"),
        ("mlp", "pool", "average", "no maps to pool"),
        ("mlp", "norm", "instance", NEEDS_MAPS),
        ("lenet5", "norm", "instance", NEEDS_MAPS),
        ("resnet20", "pool", "max", "no pooling"),
        ("resnet50", "pool", "max", "small stem"),
    ],
)
def test_a_part_without_a_place_is_refused(name: str, group: str, choice: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        train_without_values(name, group, choice)


@pytest.mark.parametrize("name", EACH)
@pytest.mark.parametrize("choice", ["lrn", "batch", "group", "layer"])
def test_another_norm_follows_every_convolution_and_nothing_else(name: str, choice: str) -> None:
    norm = member("norm", choice)
    with torch.device("meta"):
        kind = type(norm(8))
        try:
            net = make(name, parts=Parts(norm=norm))
        except ValueError:  # refused, by name as another test expects
            return
    blocks = [dict(module.named_children()) for module in net.modules()]
    normalized = [block["conv"] for block in blocks if "conv" in block and isinstance(block.get("norm"), kind)]
    hidden = [block for block in blocks if "linear" in block]
    assert normalized == [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert sum(isinstance(module, kind) for module in net.modules()) == len(normalized) + len(hidden)


@pytest.mark.parametrize("name", EACH_WITHOUT_VALUES)
def test_dropout_replaces_every_rate_and_has_a_place(name: str) -> None:
    with torch.device("meta"):
        net = make(name, parts=Parts(dropout=0.25))
    rates = [module.p for module in net.modules() if isinstance(module, nn.Dropout)]
    assert rates
    assert set(rates) == {0.25}


if __name__ == "__main__":
    for chosen in sys.argv[1:] or REPRESENTATIVES:
        text = json.dumps(golden_logits(chosen), indent=1)
        (GOLDEN / f"{chosen}.json").write_text(f"{text}\n")
        print(chosen, *json.loads(text))
