"""The same questions to every architecture in conf/arch, which are found by themselves.

The first line of its yaml states an architecture's published size. Its file in golden/ holds five numbers of its
function with ramp-filled parameters: `python tests/archs/test_architectures.py NAME...` writes it, and a commit that
changes one says why.
"""

import json
import re
import sys
from functools import partial
from importlib import import_module
from math import sqrt
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.utils.flop_counter import FlopCounterMode

from convarium.layers import AS_IN_PAPER, Outputs, Parts

CONF = Path(__file__).parents[2] / "conf"
GOLDEN = Path(__file__).parent / "golden"
FRACTION = (sqrt(5) - 1) / 2  # its multiples modulo 1 are spread evenly


def members(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


NAMES = members("arch")


class Published(NamedTuple):
    """What the first line of an architecture's yaml states."""

    parameters: int
    channels: int
    image_size: int
    num_classes: int
    multiply_adds: int | None


def published(name: str) -> Published:
    line = (CONF / "arch" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
    size = re.search(r"([\d,]+) parameters at (\d+)x(\d+)x(\d+), (\d+) classes", line)
    assert size, f"{name}.yaml begins with {line!r}"
    parameters, channels, height, width, classes = (int(number.replace(",", "")) for number in size.groups())
    assert height == width
    cost = re.search(r"([\d,]+) multiply-adds", line)
    return Published(parameters, channels, height, classes, int(cost[1].replace(",", "")) if cost else None)


def member(group: str, name: str) -> Any:
    """The factory that a yaml stands for; None for the paper's."""
    node = OmegaConf.to_container(OmegaConf.load(CONF / group / f"{name}.yaml"))
    assert isinstance(node, dict)
    if "_target_" not in node:
        return None
    target = target_of(node.pop("_target_"))
    return partial(target, **{key: value for key, value in node.items() if key != "_partial_"})


def target_of(path: str) -> Any:
    module, _, attribute = path.rpartition(".")
    return getattr(import_module(module), attribute)


def make(
    name: str, *, channels: int = 1, num_classes: int = 10, image_size: int = 32, parts: Parts = AS_IN_PAPER
) -> nn.Module:
    """The network that an architecture's yaml describes, for 32x32 digits unless told otherwise."""
    node = OmegaConf.to_container(OmegaConf.load(CONF / "arch" / f"{name}.yaml"))
    assert isinstance(node, dict)
    values = {
        "${data.channels}": channels,
        "${data.num_classes}": num_classes,
        "${data.image_size}": image_size,
        "${parts}": parts,
    }
    target = target_of(node.pop("_target_"))
    arguments = {key: values.get(value, value) if isinstance(value, str) else value for key, value in node.items()}
    net = target(**arguments)
    assert isinstance(net, nn.Module)
    return net


def make_published(name: str) -> tuple[nn.Module, Tensor]:
    """The network at its published size and one image for it, without values."""
    size = published(name)
    with torch.device("meta"):
        net = make(name, channels=size.channels, num_classes=size.num_classes, image_size=size.image_size)
        return net.eval(), torch.empty(1, size.channels, size.image_size, size.image_size)


def loss(outputs: Tensor | Outputs, targets: Tensor) -> Tensor:
    all_logits = (outputs.logits, *outputs.aux) if isinstance(outputs, Outputs) else (outputs,)
    return torch.stack([cross_entropy(logits, targets) for logits in all_logits]).sum()


def ramp(*shape: int) -> Tensor:
    """Values in [-1, 1), spread evenly and the same on every machine."""
    count = torch.Size(shape).numel()
    return (torch.arange(count, dtype=torch.float64) * FRACTION % 1).mul_(2).sub_(1).view(shape)


def golden_logits(name: str) -> list[float]:
    """Five logits of two images of 32x32, in double precision, evaluating."""
    net = make(name).double().eval()
    with torch.no_grad():
        for key, parameter in net.named_parameters():
            values = ramp(*parameter.shape)
            if parameter.ndim > 1:
                parameter.copy_(values.mul_(sqrt(6 / parameter[0].numel())))
            else:
                parameter.copy_(values.mul_(0.1).add_(float(key.endswith("weight"))))
        logits = net(ramp(2, 1, 32, 32))
    return [float(f"{value:.12g}") for value in logits.flatten()[::4].tolist()]


@pytest.mark.parametrize("name", NAMES)
def test_it_has_exactly_the_published_parameters(name: str) -> None:
    net, _ = make_published(name)
    assert sum(parameter.numel() for parameter in net.parameters()) == published(name).parameters


@pytest.mark.parametrize("name", [name for name in NAMES if published(name).multiply_adds])
def test_it_makes_exactly_the_published_multiply_adds(name: str) -> None:
    net, image = make_published(name)
    with FlopCounterMode(display=False) as counter:
        net(image)
    assert counter.get_total_flops() == 2 * (published(name).multiply_adds or 0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "num_classes"), [(1, 10), (3, 7), (3, 1)])
def test_it_gives_one_logit_a_class(name: str, channels: int, num_classes: int) -> None:
    with torch.device("meta"):
        net = make(name, channels=channels, num_classes=num_classes).eval()
        logits = net(torch.empty(2, channels, 32, 32))
    assert logits.shape == (2, num_classes)


@pytest.mark.parametrize("name", NAMES)
def test_the_final_classifiers_parameters_come_last(name: str) -> None:
    with torch.device("meta"):
        net = make(name).eval()
        last = net.get_submodule(list(dict(net.named_parameters()))[-1].rpartition(".")[0])
        outputs: list[Tensor] = []
        last.register_forward_hook(lambda module, inputs, output: outputs.append(output))
        logits = net(torch.empty(2, 1, 32, 32))
    assert outputs[-1] is logits


@pytest.mark.parametrize("name", NAMES)
def test_it_computes_the_same_function_as_yesterday(name: str) -> None:
    file = GOLDEN / f"{name}.json"
    assert file.exists(), f"write it: python tests/archs/test_architectures.py {name}"
    assert golden_logits(name) == pytest.approx(json.loads(file.read_text()), rel=1e-8, abs=1e-10)


@pytest.mark.parametrize("name", NAMES)
def test_a_gradient_reaches_every_parameter(name: str) -> None:
    net = make(name)
    loss(net(torch.randn(2, 1, 32, 32)), torch.tensor([3, 7])).backward()
    without = [key for key, parameter in net.named_parameters() if parameter.grad is None or not parameter.grad.any()]
    assert without == []


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_four_images(name: str) -> None:
    net = make(name, parts=Parts(dropout=0.0))
    images, targets = torch.randn(4, 1, 32, 32), torch.arange(4)
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-4, fused=True)
    first = loss(net(images), targets).item()
    for _ in range(300):
        optimizer.zero_grad()
        now = loss(net(images), targets)
        if now.item() < first / 4:
            return
        now.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    pytest.fail(f"loss {first:.3f} at first, {now.item():.3f} after 300 steps")


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_of_one_gives_what_it_gives_in_a_larger_one(name: str) -> None:
    net = make(name).eval()
    images = torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(net(images[:1]), net(images)[:1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_evaluating_twice_gives_the_same_and_leaves_the_input_alone(name: str) -> None:
    net = make(name).eval()
    images = torch.randn(1, 1, 32, 32)
    before = images.clone()
    with torch.no_grad():
        assert torch.equal(net(images), net(images))
    assert torch.equal(images, before)


CHOICES = [(group, choice) for group in ("norm", "activation", "pool", "init") for choice in members(group)]
NEEDS_MAPS = "Expected more than 1 spatial element"  # torch, of instance norm on 1x1 maps


def train_without_values(name: str, group: str, choice: str) -> None:
    with torch.device("meta"):
        net = make(name, parts=Parts(**{group: member(group, choice)}))
        loss(net(torch.empty(2, 1, 32, 32)), torch.zeros(2, dtype=torch.long)).backward()


@pytest.mark.parametrize("name", NAMES)
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


@pytest.mark.parametrize("name", [name for name in NAMES if name != "logistic_regression"])
@pytest.mark.parametrize("choice", ["lrn", "batch", "group", "layer"])
def test_another_norm_follows_every_convolution_and_nothing_else(name: str, choice: str) -> None:
    norm = member("norm", choice)
    with torch.device("meta"):
        kind = type(norm(8))
        net = make(name, parts=Parts(norm=norm))
    blocks = [dict(module.named_children()) for module in net.modules()]
    normalized = [block["conv"] for block in blocks if "conv" in block and isinstance(block.get("norm"), kind)]
    hidden = [block for block in blocks if "linear" in block]
    assert normalized == [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert sum(isinstance(module, kind) for module in net.modules()) == len(normalized) + len(hidden)


@pytest.mark.parametrize("name", NAMES)
def test_dropout_replaces_every_rate_and_has_a_place(name: str) -> None:
    with torch.device("meta"):
        net = make(name, parts=Parts(dropout=0.25))
    rates = [module.p for module in net.modules() if isinstance(module, nn.Dropout)]
    assert rates
    assert set(rates) == {0.25}


if __name__ == "__main__":
    for chosen in sys.argv[1:] or NAMES:
        text = json.dumps(golden_logits(chosen), indent=1)
        (GOLDEN / f"{chosen}.json").write_text(f"{text}\n")
        print(chosen, *json.loads(text))
