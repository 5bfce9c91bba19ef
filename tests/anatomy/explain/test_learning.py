"""Losses, rules and updates, beside autograd, torch's layers and its loaders."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from convarium.learn.losses import Perceptron

Answer = Callable[..., dict[str, Any]]


def test_squared_error_falls_by_a_fifth_of_a_percent_and_cross_entropy_by_half(answer: Answer) -> None:
    found = answer("loss")
    assert [round(found[f"squared_error_{name}"], 6) for name in ("before", "after")] == [0.999998, 0.998001]
    assert [round(found[f"cross_entropy_{name}"], 3) for name in ("before", "after")] == [13.816, 6.908]
    assert round(found["squared_error_change_percent"], 1) == -0.2
    assert round(found["cross_entropy_change_percent"], 6) == -50


@pytest.mark.parametrize("p", [1e-6, 0.2, 0.9])
def test_gradients_of_losses_are_autograds(answer: Answer, p: float) -> None:
    found = answer("loss", before=p)
    z = torch.tensor(math.log(p / (1 - p)), dtype=torch.float64, requires_grad=True)
    true = torch.tensor(1.0, dtype=torch.float64)
    losses = {
        "squared_error": F.mse_loss(z.sigmoid(), true),
        "cross_entropy": F.binary_cross_entropy_with_logits(z, true),
    }
    for name, loss in losses.items():
        assert found[f"{name}_before"] == pytest.approx(loss.item())
        assert found[f"{name}_gradient"] == pytest.approx(torch.autograd.grad(loss, z, retain_graph=True)[0].item())


@pytest.mark.parametrize(("p", "p_means", "drop"), [(0.5, "drop", 0.5), (0.2, "drop", 0.2), (0.8, "keep", 0.2)])
def test_dropout_is_torchs_whatever_p_means(answer: Answer, p: float, p_means: str, drop: float) -> None:
    found = answer("dropout", p=p, p_means=p_means, units=100_000)
    assert found["drop"] == pytest.approx(drop)
    y = nn.Dropout(found["drop"])(torch.ones(100_000))
    torch.testing.assert_close(y.unique(), torch.tensor([0.0, found["training_scale"]]))
    assert y.mean().item() == pytest.approx(found["mean"], abs=0.02)
    assert y.std().item() == pytest.approx(found["standard_deviation"], abs=0.02)
    assert int(y.count_nonzero()) == pytest.approx(found["kept_units"], rel=0.02)
    assert found["test_scale"] * found["training_scale"] == pytest.approx(1)


def test_1050_samples_are_10_batches_of_100_and_one_of_50(answer: Answer) -> None:
    found = answer("mini_batch")
    assert (found["full_batches"], found["last_batch"], found["updates"]) == (10, 50, 11)


@pytest.mark.parametrize(("samples", "batch_size"), [(1050, 100), (1000, 100), (99, 100), (7, 1)])
def test_updates_are_the_batches_of_torchs_loader(answer: Answer, samples: int, batch_size: int) -> None:
    found = answer("mini_batch", samples=samples, batch_size=batch_size, epochs=3)
    data: Any = range(samples)
    assert found["updates"] == len(DataLoader(data, batch_size))
    assert found["updates_without_last"] == len(DataLoader(data, batch_size, drop_last=True))
    assert found["total_updates"] == 3 * found["updates"]


INPUTS, WEIGHTS = [1.0, -2.0, 0.5, 1.0], [0.3, 0.4, -0.2, 0.1]


def after_one_update(loss: Callable[[Tensor, Tensor], Tensor], weights: list[float], target: int) -> list[float]:
    unit = nn.Linear(len(INPUTS), 1, bias=False)
    with torch.no_grad():
        unit.weight.copy_(torch.tensor([weights]))
    loss(unit(torch.tensor([INPUTS])), torch.tensor([target])).sum().backward()
    torch.optim.SGD(unit.parameters(), lr=0.5).step()
    return unit.weight[0].tolist()


@pytest.mark.parametrize("target", [0, 1])
@pytest.mark.parametrize("sign", [-1, 1])
def test_one_model_learns_by_two_rules(answer: Answer, target: int, sign: int) -> None:
    weights = [sign * weight for weight in WEIGHTS]
    found = answer("perceptron", inputs=INPUTS, weights=weights, target=target, learning_rate=0.5)
    assert (found["perceptron_says"] == 1) == (found["logistic_says"] > 0.5)

    def log_loss(logits: Tensor, targets: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(logits[:, 0], targets.float())

    assert found["perceptron_weights"] == pytest.approx(after_one_update(Perceptron(), weights, target))
    assert found["logistic_weights"] == pytest.approx(after_one_update(log_loss, weights, target))
    right = found["perceptron_says"] == target
    assert (found["perceptron_weights"] == pytest.approx(weights)) == right
    assert found["logistic_weights"] != pytest.approx(weights)
