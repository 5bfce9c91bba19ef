"""Networks with one fingerprint are one network, bit for bit; whatever may make a difference has another, or none."""

from collections.abc import Callable
from functools import cache, partial

import pytest
import torch
from torch import Tensor, nn

from convarium.anatomy import fingerprint as fingerprint_module
from convarium.anatomy.fingerprint import fingerprint
from convarium.config.compose import Conf
from convarium.config.instantiate import build

CONF = Conf()
ALIKE = {
    "lenet5": ("norm=none", "activation=scaled_tanh", "pool=average"),
    "resnet20": ("norm=batch", "activation=relu", "init=he"),
    "mlp": ("norm=none", "activation=scaled_tanh"),
    "vgg11": ("norm=none", "pool=max", "activation=relu", "init=he"),
    "inception_v1": ("activation=relu", "init=he"),
    "efficientnet_b0": ("activation=silu",),
}


@cache
def maker(*words: str) -> Callable[[], nn.Module]:
    return partial(build, CONF.compose([*words]).config["arch"], "arch")


def learned(make: Callable[[], nn.Module]) -> list[tuple[str, Tensor]]:
    """All that a network has after a step backward from one seed: tensors, outputs, gradients, and the next draw."""
    torch.manual_seed(7)
    net = make()
    found = [(name, tensor.detach().clone()) for name, tensor in net.state_dict().items()]
    outputs = net(torch.rand(2, 1, 32, 32))
    outputs.square().sum().backward()
    gradients = [(name, parameter.grad) for name, parameter in net.named_parameters()]
    return [*found, ("outputs", outputs), *gradients, ("next", torch.rand(1))]


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    "arch", [pytest.param(arch, marks=() if arch in ("lenet5", "resnet20") else SLOW) for arch in ALIKE]
)
def test_what_the_paper_has_may_be_said_in_words(arch: str) -> None:
    assert fingerprint(maker(f"arch={arch}")) == fingerprint(maker(f"arch={arch}", *ALIKE[arch])) is not None


@pytest.mark.parametrize("arch", ["lenet5", "resnet20", pytest.param("mlp", marks=SLOW)])
def test_networks_with_one_fingerprint_are_one_bit_for_bit(arch: str) -> None:
    ours, theirs = (learned(maker(f"arch={arch}", *words)) for words in ((), ALIKE[arch]))
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    assert all(torch.equal(one, other) for (_, one), (_, other) in zip(ours, theirs, strict=True))


@pytest.mark.parametrize(
    "words",
    [
        ("norm=none", "norm=batch", "norm=batch norm.eps=0.001", "norm=batch norm.momentum=0.2"),
        ("activation=relu", "activation=leaky_relu", "activation=leaky_relu activation.negative_slope=0.3"),
        ("init=he", "init=xavier", "init=orthogonal"),
        ("pool=average", "pool=max"),
        ("dropout=0.1", "dropout=0.2", "dropout=null"),
    ],
)
def test_every_key_of_a_network_makes_another_fingerprint(words: tuple[str, ...]) -> None:
    arch = "arch=mlp" if words[0].startswith("dropout") else "arch=lenet5"
    found = [fingerprint(maker(arch, *each.split())) for each in words]
    assert None not in found
    assert len({*found}) == len(found)


class Own(nn.Module):
    """A network of somebody's own, with one thing that another one has not."""

    def __init__(self, change: Callable[["Own"], object] = lambda net: None) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.no_decay = ["first.bias"]
        change(self)


class Other(Own):
    """Another class, of which nobody knows what it does."""


def draw(net: Own) -> None:
    nn.init.normal_(net.first.weight)


def draw_less(net: Own) -> None:
    nn.init.normal_(net.first.weight, std=0.5)


def draw_twice(net: Own) -> None:
    draw(net)
    draw(net)


def draw_elsewhere(net: Own) -> None:
    nn.init.normal_(net.second.weight)


def draw_from_another_seed(net: Own) -> None:
    torch.manual_seed(5)
    draw(net)


def name(net: Own) -> None:
    net.no_decay = ["first.bias", "second.bias"]


def share(net: Own) -> None:
    net.second = net.first


def share_a_tensor(net: Own) -> None:
    net.second.weight = net.first.weight


def freeze(net: Own) -> None:
    net.first.weight.requires_grad_(requires_grad=False)


def activate(net: Own) -> None:
    net.act = nn.ReLU()


def activate_twice(net: Own) -> None:
    net.act = nn.Sequential(nn.ReLU(), nn.ReLU())


def activate_in_two_places(net: Own) -> None:
    net.act = nn.Sequential(*[nn.ReLU()] * 2)


CHANGES = (draw, draw_less, draw_twice, draw_elsewhere, draw_from_another_seed, name, share, share_a_tensor, freeze)
CHANGES += (activate, activate_twice, activate_in_two_places)


def test_whatever_may_make_a_difference_is_in_the_fingerprint() -> None:
    made = [Own, Other, *(partial(Own, change) for change in CHANGES)]
    found = [fingerprint(make) for make in made]
    assert None not in found
    assert len({*found}) == len(found)
    assert found == [fingerprint(make) for make in made]


def with_a_closure(net: Own) -> None:
    net.act = lambda x: x  # type: ignore[assignment]


def with_a_hook(net: Own) -> None:
    net.first.weight.register_hook(lambda gradient: gradient)


def with_an_object(net: Own) -> None:
    net.act = object()  # type: ignore[assignment]


def with_values_from_elsewhere(net: Own) -> None:
    net.first.weight.data.copy_(ELSEWHERE)


def with_a_generator(net: Own) -> None:
    net.first.weight.data.normal_(generator=torch.Generator().manual_seed(1))


def that_asks_for_a_value(net: Own) -> None:
    if net.first.weight.sum().item() > 0:
        draw(net)


def that_fails(net: Own) -> None:
    raise KeyError(net)


ELSEWHERE = torch.ones(3, 3)


@pytest.mark.parametrize(
    "change",
    [
        with_a_closure,
        with_a_hook,
        with_an_object,
        with_values_from_elsewhere,
        with_a_generator,
        that_asks_for_a_value,
        that_fails,
    ],
)
def test_what_cannot_be_compared_has_no_fingerprint(change: Callable[[Own], None]) -> None:
    assert fingerprint(partial(Own, change)) is None


def test_another_version_makes_another_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint(Own)
    monkeypatch.setattr(fingerprint_module.torch, "__version__", "0.0")
    assert fingerprint(Own) != before
