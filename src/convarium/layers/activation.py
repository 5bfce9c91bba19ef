"""Activations that torch does not have; the others come from torch.nn by their yaml."""

import torch
from torch import Tensor, nn


class ScaledTanh(nn.Module):
    """1.7159 tanh(2x/3), for which f(1) = 1 and f(-1) = -1 (LeCun et al. 1998, appendix A)."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(x * (2 / 3))


class Step(nn.Module):
    """1 where x is positive, else 0: the threshold of Rosenblatt 1958.

    No gradient passes: it is zero everywhere. A network trained with this step in its hidden layers learns only above
    the last of them; what lies below keeps its values, but for weight decay.
    """

    def forward(self, x: Tensor) -> Tensor:
        return x.clamp(min=0).sign()  # both have derivatives, so that backward runs through and gives zeros
