"""Questions to architectures that need values: gradients, learning, batches. Noise of 32x32 where they take it."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from archs.catalog import EACH, EACH_SMALL
from archs.networks import images, loss, make, settled, without_chance, without_gradient
from convarium.layers import Outputs, Parts


@pytest.mark.parametrize("name", EACH)
def test_a_gradient_reaches_every_parameter(name: str) -> None:
    net = without_chance(make(name))
    loss(net(images(name, 2)), torch.tensor([3, 7])).backward()
    assert without_gradient(net) == []


@pytest.fixture
def known_not_to_learn(request: pytest.FixtureRequest, name: str) -> None:
    if name == "plain110":
        reason = "its authors could not train it either: more than 60 % error (He et al. 2015, section 4.2)"
        request.applymarker(pytest.mark.xfail(strict=True, reason=reason))


@pytest.mark.usefixtures("known_not_to_learn")
@pytest.mark.parametrize("name", EACH_SMALL)
def test_it_learns_four_images_in_at_most_200_steps(name: str) -> None:
    net = make(name, parts=Parts(dropout=0.0))
    inputs, targets = images(name, 4), torch.arange(4)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    for _ in range(1 + 200):  # the last one only looks
        outputs = net(inputs)
        logits = outputs.logits if isinstance(outputs, Outputs) else outputs
        if (reached := cross_entropy(logits, targets).item()) < 0.1:
            return
        optimizer.zero_grad()
        loss(outputs, targets).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    pytest.fail(f"the loss of the logits is {reached:.3f}")


@pytest.mark.parametrize("name", EACH)
def test_evaluating_gives_the_same_again_and_in_smaller_batches_and_leaves_the_input_alone(name: str) -> None:
    net = settled(name, make(name))
    inputs = images(name, 2)
    before = inputs.clone()
    with torch.no_grad():
        logits = net(inputs)
        assert torch.equal(net(inputs), logits)
        torch.testing.assert_close(net(inputs[:1]), logits[:1], rtol=1e-3, atol=1e-4)
    assert torch.equal(inputs, before)
