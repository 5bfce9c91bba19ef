"""The same questions to every architecture in conf/arch, which are found by themselves, mostly without values.

The first line of its yaml states an architecture's published size. A file in golden/ holds five numbers of a function
with ramp-filled parameters: `PYTHONPATH=tests python tests/archs/test_architectures.py NAME...` writes it, and a commit
that changes one says why. A new architecture needs none.
"""

import json
import sys
from itertools import cycle, islice
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from archs.catalog import DEAR, DEEP, EACH, EACH_WITHOUT_VALUES, NAMES, REPRESENTATIVES, asked, stated
from archs.networks import fill_with_ramps, images, loss, make, make_published, member, ramp, small_size
from convarium.config.catalog import members
from convarium.layers import Outputs, Parts

GOLDEN = Path(__file__).parent / "golden"
WITH_GOLDEN = sorted(path.stem for path in GOLDEN.glob("*.json"))


def golden_logits(name: str) -> list[float]:
    """Five logits of two small images, in double precision, evaluating."""
    net = make(name).double().eval()
    fill_with_ramps(net)
    with torch.no_grad():
        logits = net(ramp(2, 1, small_size(name), small_size(name)))
    return [float(f"{value:.12g}") for value in logits.flatten()[::4].tolist()]


@pytest.mark.parametrize("name", asked(NAMES, {*NAMES} - DEEP))
def test_it_has_exactly_the_published_parameters(name: str) -> None:
    net, _ = make_published(name)
    counts = {key: parameter.numel() for key, parameter in net.named_parameters()}
    in_heads = sum(count for key, count in counts.items() if key.startswith("aux."))
    assert sum(counts.values()) - in_heads == stated(name).parameters
    assert (sum(counts.values()) if in_heads else None) == stated(name).with_heads


@pytest.mark.parametrize("name", asked([name for name in NAMES if stated(name).multiply_adds], {*NAMES} - DEAR))
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
def test_only_while_training_there_are_logits_of_auxiliary_heads_if_it_has_some(name: str) -> None:
    with torch.device("meta"):
        net = make(name)
        outputs = net.train()(images(name, 2))
    heads = len(getattr(net, "aux", ()))
    assert isinstance(outputs, Outputs) == (heads > 0)
    all_logits = (outputs.logits, *outputs.aux) if heads else (outputs,)
    assert [tuple(logits.shape) for logits in all_logits] == [(2, 10)] * (1 + heads)


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
    golden = json.loads((GOLDEN / f"{name}.json").read_text())
    assert golden_logits(name) == pytest.approx(golden, rel=1e-8, abs=1e-10)


def test_no_golden_file_is_lost() -> None:
    assert set(WITH_GOLDEN) >= {
        *("alexnet", "alexnet_one_tower", "bn_inception", "convnet", "efficientnet_b0", "inception_v1", "inception_v3"),
        *("kaggle_mnist", "keras_cnn_128", "lenet5", "lenet5_1998", "logistic_regression", "mlp", "perceptron"),
        *("plain18", "plain20", "resnet18", "resnet20", "resnet50"),
        *("vgg11", "vgg11_lrn", "vgg13", "vgg16", "vgg16_1x1", "vgg19"),
    }


GROUPS = ("norm", "activation", "pool", "init")
MOST = max(len(members(group)) for group in GROUPS)
CHOICES = list(zip(*(islice(cycle(members(group)), MOST) for group in GROUPS), strict=True))
"""Every choice of every group, in as few networks as that takes."""
NEEDS_MAPS = "Expected more than 1 spatial element"  # torch, of instance norm on 1x1 maps


def refusal(name: str, **choices: str) -> str:
    """What an architecture says against these parts; empty if it trains with them, without values."""
    try:
        with torch.device("meta"):
            net = make(name, parts=Parts(**{group: member(group, choice) for group, choice in choices.items()}))
            loss(net(images(name, 2)), torch.zeros(2, dtype=torch.long)).backward()
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize("name", asked(NAMES, {*REPRESENTATIVES} - {"inception_v3", "bn_inception"}))
@pytest.mark.parametrize("choices", CHOICES, ids="-".join)
def test_it_works_with_every_part_or_refuses_it_by_name(name: str, choices: tuple[str, ...]) -> None:
    left = dict(zip(GROUPS, choices, strict=True))
    while message := refusal(name, **left):
        by_torch = left.get("norm") == "instance" and NEEDS_MAPS in message
        refused = "norm" if by_torch else message.partition(": ")[0]
        assert left.pop(refused, "paper") != "paper", message


@pytest.mark.parametrize(
    ("name", "group", "choice", "why"),
    [
        ("logistic_regression", "norm", "batch", "no hidden layer"),
        ("logistic_regression", "activation", "relu", "no hidden layer"),
        ("logistic_regression", "pool", "max", "no maps to pool"),
        ("mlp", "pool", "average", "no maps to pool"),
        ("perceptron", "norm", "batch", "one layer and its step"),
        ("perceptron", "activation", "relu", "one layer and its step"),
        ("perceptron", "pool", "max", "one layer and its step"),
        ("mlp", "norm", "instance", NEEDS_MAPS),
        ("lenet5", "norm", "instance", NEEDS_MAPS),
        ("resnet20", "pool", "max", "no pooling"),
        ("resnet50", "pool", "max", "small stem"),
    ],
)
def test_a_part_without_a_place_is_refused(name: str, group: str, choice: str, why: str) -> None:
    assert why in refusal(name, **{group: choice})


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
