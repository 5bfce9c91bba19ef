"""What normalization does, beside torch's layers and ours."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from convarium.layers import norm

Answer = Callable[..., dict[str, Any]]


def tensor(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_the_worked_example_of_local_response(answer: Answer) -> None:
    found = answer("lrn")
    assert [round(value, 6) for value in found["normalized"]] == [0.2, 0.142857, 0.103448, 0.16]
    assert (found["pytorch_size"], found["pytorch_alpha"]) == (3, 3)
    assert [round(value, 4) for value in found["pytorch_alpha_times_n"]] == [1, 0.4, 0.2308, 0.16]


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize(("k", "alpha", "beta"), [(2.0, 1e-4, 0.75), (0.5, 1.0, 1.0)])
def test_local_response_is_torchs_where_it_says_so(answer: Answer, n: int, k: float, alpha: float, beta: float) -> None:
    maps = (torch.randn(9, dtype=torch.float64) * 20).tolist()
    found = answer("lrn", maps=maps, n=n, k=k, alpha=alpha, beta=beta)
    x = tensor(maps).view(1, 9, 1, 1)

    def torchs(size: int, alpha: float) -> Tensor:
        return nn.LocalResponseNorm(size, alpha=alpha, beta=beta, k=k)(x).flatten()

    torch.testing.assert_close(tensor(found["normalized"]), torchs(found["pytorch_size"], found["pytorch_alpha"]))
    torch.testing.assert_close(
        tensor(found["normalized"]), norm.LocalResponse(9, n=n, k=k, alpha=alpha, beta=beta)(x).flatten()
    )
    torch.testing.assert_close(tensor(found["pytorch_same"]), tensor(found["normalized"]))
    torch.testing.assert_close(tensor(found["pytorch_alpha_times_n"]), torchs(n, alpha * n))
    torch.testing.assert_close(tensor(found["pytorch_alpha_as_printed"]), torchs(n, alpha))


def test_without_k_maps_of_zeros_have_no_value(answer: Answer) -> None:
    found = answer("lrn", maps=[0, 0, 0, 3])
    assert [math.isnan(value) for value in found["normalized"]] == [True, True, False, False]
    torchs = nn.LocalResponseNorm(2, alpha=2, beta=1, k=0)(torch.tensor([0.0, 0, 0, 3]).view(1, 4, 1, 1))
    assert [math.isnan(value) for value in found["pytorch_alpha_times_n"]] == torchs.isnan().flatten().tolist()


@pytest.mark.parametrize("values", [[1.0, 2, 3, 4], [-5.0, 0.25, 7]])
def test_batch_norm_is_torchs_in_training_and_evaluation(answer: Answer, values: list[float]) -> None:
    found = answer("batch_norm", values=values, gamma=1.5, beta=-0.5, eps=0.001, momentum=0.3, channels=1)
    layer = nn.BatchNorm2d(1, eps=0.001, momentum=0.3).double()
    nn.init.constant_(layer.weight, 1.5)
    nn.init.constant_(layer.bias, -0.5)
    x = tensor(values).view(len(values), 1, 1, 1)
    torch.testing.assert_close(tensor(found["training"]), layer(x).flatten())
    assert found["running_mean"] == pytest.approx(float(layer.running_mean))
    assert found["running_variance"] == pytest.approx(float(layer.running_var))
    torch.testing.assert_close(tensor(found["evaluation"]), layer.eval()(x).flatten())
    assert found["parameters"] == sum(parameter.numel() for parameter in layer.parameters())


def test_batch_norm_starts_as_it_is_said_to(answer: Answer) -> None:
    layer, found = nn.BatchNorm2d(64), answer("batch_norm")
    assert found["parameters"] == 128 == layer.weight.numel() + layer.bias.numel()
    assert (layer.weight.unique().tolist(), layer.bias.unique().tolist()) == ([1.0], [0.0])
    assert (layer.eps, layer.momentum) == (1e-5, 0.1)
