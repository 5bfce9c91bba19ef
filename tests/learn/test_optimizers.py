"""Every optimizer of conf/optimizer trains and resumes; LARS and Muon follow their papers; groups are right."""

import io
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from convarium.learn.optimizers import Lars, Muon, RmspropTf, VelocitySGD, build_optimizer, orthogonalize

Build = Callable[..., Any]
MakeNet = Callable[..., nn.Sequential]
Train = Callable[[nn.Module, Optimizer, int], list[float]]


@pytest.fixture
def train(problem: tuple[Tensor, Tensor]) -> Train:
    """A function of a network, its optimizer and a number of full-batch steps: the loss before each."""
    images, targets = problem

    def train(net: nn.Module, optimizer: Optimizer, steps: int) -> list[float]:
        losses = []
        for _ in range(steps):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(images), targets)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        return losses

    return train


def test_the_rate_inside_the_momentum_is_the_one_that_held_when_it_was_gathered() -> None:
    """By hand: rates 1, 1, 0.1, 0.1, momentum 0.5, decay 0.25, gradients 2, 4, 0, -8 on a weight of 8."""
    weight = nn.Parameter(torch.tensor([8.0], dtype=torch.float64))
    optimizer = VelocitySGD([weight], momentum=0.5, weight_decay=0.25)
    weights = []
    for rate, gradient in ((1.0, 2.0), (1.0, 4.0), (0.1, 0.0), (0.1, -8.0)):
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        weights.append(weight.item())
    # v: -(2+2) = -4; -2-(4+1) = -7; -3.5+0.1*0.75 = -3.425 at w = -3; -1.7125-0.1*(-8-1.60625) = -0.751875
    assert weights == pytest.approx([4.0, -3.0, -6.425, -7.176875], rel=1e-12)


def test_torchs_momentum_is_the_same_until_the_rate_changes() -> None:
    ours, theirs = (with_gradients((3, 2), (2,)) for _ in range(2))
    optimizers = (
        VelocitySGD(ours, lr=0.1, momentum=0.9, weight_decay=0.01),
        torch.optim.SGD(theirs, lr=0.1, momentum=0.9, weight_decay=0.01),
    )
    for step in range(6):
        for optimizer in optimizers:
            optimizer.param_groups[0]["lr"] = 0.1 if step < 5 else 0.01
            optimizer.step()
        for our, their in zip(ours, theirs, strict=True):
            assert torch.allclose(our, their, rtol=1e-5, atol=1e-6) == (step < 5)


def names_of(net: nn.Module, params: list[Tensor]) -> list[str]:
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    return [names[id(parameter)] for parameter in params]


def with_gradients(*shapes: tuple[int, ...], seed: int = 0) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    params = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    for parameter in params:
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return params


def test_an_optimizer_with_its_defaults_reduces_the_loss(
    optimizer_member: str, build: Build, make_net: MakeNet, train: Train
) -> None:
    net = make_net()
    losses = train(net, build_optimizer(build("optimizer", optimizer_member), net), 40)
    assert losses[-1] < 0.5 * losses[0]


def test_an_optimizer_goes_on_from_its_saved_state_bit_for_bit(
    optimizer_member: str, build: Build, make_net: MakeNet, train: Train
) -> None:
    factory = build("optimizer", optimizer_member)
    net = make_net()
    optimizer = build_optimizer(factory, net)
    train(net, optimizer, 3)
    buffer = io.BytesIO()
    torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict()}, buffer)
    train(net, optimizer, 3)

    saved = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    resumed = make_net(seed=1)
    resumed.load_state_dict(saved["net"])
    other = build_optimizer(factory, resumed)
    other.load_state_dict(saved["optimizer"])
    train(resumed, other, 3)
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(net.state_dict().values(), resumed.state_dict().values(), strict=True)
    )


def test_an_optimizer_takes_its_rate_from_the_groups_at_every_step(
    optimizer_member: str, build: Build, make_net: MakeNet, train: Train
) -> None:
    net = make_net()
    optimizer = build_optimizer(build("optimizer", optimizer_member), net)
    before = [parameter.detach().clone() for parameter in net.parameters()]
    for group in optimizer.param_groups:
        assert type(group["lr"]) is float
        assert group["initial_lr"] == group["lr"]
        group["lr"] = group["initial_lr"] * 0.0
    train(net, optimizer, 1)
    assert all(torch.equal(ours, was) for ours, was in zip(net.parameters(), before, strict=True))


def test_weight_decay_goes_to_the_weights_alone_or_to_all(
    optimizer_member: str, build: Build, make_net: MakeNet
) -> None:
    net = make_net()
    factory = build("optimizer", optimizer_member, weight_decay=0.3)
    for decay, decaying in (("weights", 4), ("all", 9)):
        groups = build_optimizer(factory, net, decay).param_groups  # type: ignore[arg-type]
        sizes = {0.3: 0, 0.0: 0}
        for group in groups:
            sizes[group["weight_decay"]] += len(group["params"])
        assert sizes == {0.3: decaying, 0.0: 9 - decaying}


def test_muon_takes_hidden_weights_and_adamw_the_first_convolution_the_classifier_and_the_rest(
    build: Build, make_net: MakeNet
) -> None:
    net = make_net()
    optimizer = build_optimizer(build("optimizer", "muon"), net)
    groups = {group["name"]: group for group in optimizer.param_groups}
    assert {name: names_of(net, group["params"]) for name, group in groups.items()} == {
        "decay, muon": ["3.weight", "7.weight"],
        "decay, adamw": ["0.weight", "9.weight"],
        "plain, adamw": ["1.weight", "1.bias", "3.bias", "7.bias", "9.bias"],
    }
    assert {name: group["initial_lr"] for name, group in groups.items()} == {
        "decay, muon": 0.02,
        "decay, adamw": 0.001,
        "plain, adamw": 0.001,
    }


def test_a_network_without_hidden_weights_is_left_to_adamw(build: Build, train: Train) -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 4))
    losses = train(net, build_optimizer(build("optimizer", "muon"), net), 10)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("shape", [(8, 8), (4, 30), (30, 4)])
def test_orthogonalizing_keeps_singular_vectors_and_brings_singular_values_near_one(shape: tuple[int, int]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    inner = left.mT @ orthogonalize(matrix[None], 5)[0] @ right.mT
    assert ((inner.diagonal() > 0.6) & (inner.diagonal() < 1.3)).all()
    torch.testing.assert_close(inner, inner.diagonal().diag(), atol=1e-4, rtol=0)
    assert values.max() / values.min() > 1.3


def test_orthogonalizing_zero_gives_zero() -> None:
    assert torch.equal(orthogonalize(torch.zeros(2, 3, 4), 5), torch.zeros(2, 3, 4))


@pytest.mark.parametrize("nesterov", [True, False])
def test_muon_equals_torchs_muon_on_flattened_filters(nesterov: bool) -> None:
    shapes: list[tuple[int, ...]] = [(6, 4, 3, 3), (5, 40), (6, 4, 3, 3), (40, 5)]
    ours = with_gradients(*shapes)
    theirs = [nn.Parameter(parameter.detach().flatten(1).clone()) for parameter in ours]
    for twin, parameter in zip(theirs, ours, strict=True):
        assert parameter.grad is not None
        twin.grad = parameter.grad.flatten(1).clone()
    starts = [twin.detach().clone() for twin in theirs]
    settings: dict[str, Any] = {"lr": 0.1, "momentum": 0.9, "nesterov": nesterov, "weight_decay": 0.2}
    optimizer, reference = Muon(ours, **settings), torch.optim.Muon(theirs, **settings)
    for _ in range(3):
        optimizer.step()
        reference.step()
    for parameter, twin, start in zip(ours, theirs, starts, strict=True):
        way = twin.detach() - start
        assert (parameter.detach().flatten(1) - twin.detach()).norm() < 0.03 * way.norm()  # torch iterates in bfloat16


def test_muon_steps_along_the_orthogonalized_momentum_of_each_matrix() -> None:
    shapes: list[tuple[int, ...]] = [(6, 4, 3, 3), (40, 5), (6, 4, 3, 3)]
    ours, theirs = with_gradients(*shapes), with_gradients(*shapes)
    momenta = [torch.zeros(shape) for shape in shapes]
    optimizer = Muon(ours, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.2)
    for _ in range(2):
        optimizer.step()
        for parameter, momentum in zip(theirs, momenta, strict=True):
            assert parameter.grad is not None
            momentum.copy_(0.9 * momentum + 0.1 * parameter.grad)
            ahead = (0.9 * momentum + 0.1 * parameter.grad).flatten(1)
            step = math.sqrt(max(1, ahead.shape[0] / ahead.shape[1])) * orthogonalize(ahead[None], 5)[0]
            parameter.data = parameter.data * (1 - 0.1 * 0.2) - 0.1 * step.view_as(parameter)
    for parameter, twin in zip(ours, theirs, strict=True):
        torch.testing.assert_close(parameter, twin, rtol=1e-5, atol=1e-6)


def test_orthogonalizing_in_bfloat16_is_torchs() -> None:
    (parameter,) = with_gradients((20, 12))
    assert parameter.grad is not None
    before = parameter.detach().clone()
    ours = orthogonalize(parameter.grad[None], 5, torch.bfloat16)[0].float()
    torch.optim.Muon([parameter], lr=1.0, momentum=0.0, nesterov=False, weight_decay=0.0).step()
    torch.testing.assert_close((before - parameter.detach()) / math.sqrt(20 / 12), ours, atol=0.01, rtol=0.01)


def test_what_muon_leaves_to_adamw_is_torchs_adamw_bit_for_bit() -> None:
    ours, theirs = with_gradients((3, 5), (7,)), with_gradients((3, 5), (7,))
    optimizer = Muon(
        [{"params": ours, "use_muon": False}], adamw_lr=0.01, weight_decay=0.1, adamw_betas=(0.8, 0.9), adamw_eps=1e-6
    )
    reference = torch.optim.AdamW(theirs, lr=0.01, weight_decay=0.1, betas=(0.8, 0.9), eps=1e-6, fused=True)
    for _ in range(3):
        optimizer.step()
        reference.step()
    assert all(torch.equal(parameter, twin) for parameter, twin in zip(ours, theirs, strict=True))


def test_muon_refuses_a_vector() -> None:
    with pytest.raises(ValueError, match=r"not a parameter of shape \(7,\)"):
        Muon(with_gradients((7,)))


def test_lars_follows_its_algorithm() -> None:
    shapes: list[tuple[int, ...]] = [(4, 3, 2, 2), (7,), (5, 6)]
    ours, theirs = with_gradients(*shapes), with_gradients(*shapes)
    velocities = [torch.zeros_like(parameter) for parameter in theirs]
    lr, momentum, decay, trust = 0.3, 0.9, 0.01, 0.02
    optimizer = Lars(ours, lr=lr, momentum=momentum, weight_decay=decay, trust=trust, eps=0.0)
    for rate in (lr, lr, lr / 10):  # the rate enters the velocity: a cut is felt slowly
        optimizer.param_groups[0]["lr"] = rate
        optimizer.step()
        for parameter, velocity in zip(theirs, velocities, strict=True):
            assert parameter.grad is not None
            with torch.no_grad():
                size, slope = parameter.norm(), parameter.grad.norm()
                local = trust * size / (slope + decay * size) if parameter.ndim > 1 else 1.0
                velocity.mul_(momentum).add_(rate * local * (parameter.grad + decay * parameter))
                parameter.sub_(velocity)
    for parameter, twin in zip(ours, theirs, strict=True):
        torch.testing.assert_close(parameter, twin)


def test_lars_starts_from_weights_that_are_zero() -> None:
    (parameter,) = with_gradients((3, 3))
    parameter.data.zero_()
    Lars([parameter], lr=0.1).step()
    assert parameter.grad is not None
    torch.testing.assert_close(parameter.detach(), -0.1 * parameter.grad)


def test_tensorflows_rmsprop_takes_the_steps_computed_by_hand() -> None:
    """s = 0.9 s + 0.1 g^2 from s = 1; m = 0.5 m + lr g / sqrt(s + 1); w = w - m."""
    weight = nn.Parameter(torch.tensor([1.0], dtype=torch.float64))
    optimizer = RmspropTf([weight], alpha=0.9, momentum=0.5, eps=1.0)
    taken = []
    for rate, gradient in ((0.1, 2.0), (0.1, -1.0), (0.05, 3.0)):  # a cut of the rate leaves the momentum as it is
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.tensor([gradient], dtype=torch.float64)
        optimizer.step()
        state = optimizer.state[weight]
        taken.append([state["square_avg"].item(), state["momentum_buffer"].item(), weight.item()])
    assert taken == [
        pytest.approx([1.3, 0.13187609467916, 0.86812390532084], rel=1e-13),
        pytest.approx([1.27, -0.00043428382042, 0.86855818914126], rel=1e-10),
        pytest.approx([2.043, 0.08577134022628, 0.78278684891498], rel=1e-12),
    ]


def test_tensorflows_rmsprop_is_torchs_from_a_mean_square_of_one_at_one_rate_without_epsilon() -> None:
    shapes: list[tuple[int, ...]] = [(4, 3, 2, 2), (7,)]
    ours, theirs = with_gradients(*shapes), with_gradients(*shapes)
    optimizer = RmspropTf(ours, lr=0.01, alpha=0.8, momentum=0.7, eps=0.0, weight_decay=0.3)
    reference = torch.optim.RMSprop(theirs, lr=0.01, alpha=0.8, momentum=0.7, eps=0.0, weight_decay=0.3)
    for parameter in theirs:
        ones, zeros = torch.ones_like(parameter), torch.zeros_like(parameter)
        reference.state[parameter] = {"step": torch.zeros(()), "square_avg": ones, "momentum_buffer": zeros}
    for _ in range(4):
        optimizer.step()
        reference.step()
    for parameter, twin in zip(ours, theirs, strict=True):
        torch.testing.assert_close(parameter, twin)


def test_a_parameter_without_a_gradient_stays_as_it_is(
    optimizer_member: str, build: Build, make_net: MakeNet, train: Train
) -> None:
    net = make_net()
    optimizer = build_optimizer(build("optimizer", optimizer_member), net)
    net[3].weight.requires_grad_(False)
    before = net[3].weight.clone()
    train(net, optimizer, 2)
    assert torch.equal(net[3].weight, before)


def test_a_gradient_of_zero_is_no_division_by_zero_with_the_smallest_eps_that_the_key_accepts(
    optimizer_member: str, build: Build, make_net: MakeNet
) -> None:
    factory, net = build("optimizer", optimizer_member), make_net()
    names = [name for name in ("eps", "adamw_eps") if name in factory.keywords]
    optimizer = build_optimizer(partial(factory, **dict.fromkeys(names, 1e-30)), net)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert all(parameter.isfinite().all() for parameter in net.parameters())
