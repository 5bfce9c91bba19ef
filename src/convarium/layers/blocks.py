"""A convolution or linear layer together with its normalization and activation."""

from collections import OrderedDict

from torch import Tensor, nn

from convarium.layers.factories import ActivationFactory, NormFactory


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int | tuple[int, int],
    *,
    norm: NormFactory,
    activation: ActivationFactory | None,
    stride: int = 1,
    padding: int | tuple[int, int] = 0,
    groups: int = 1,
) -> nn.Sequential:
    """Convolution, norm, activation (if any); (N, in, H, W) -> (N, out, H', W').

    The convolution has a bias if and only if the norm brings no learnable one. A norm with a true attribute
    `after_activation` comes last.
    """
    normalize = norm(out_channels)
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=not _brings_bias(normalize)
    )
    return _in_order("conv", conv, normalize, activation)


def linear_norm(
    in_features: int, out_features: int, *, norm: NormFactory, activation: ActivationFactory | None
) -> nn.Sequential:
    """Linear layer, norm, activation (if any), in conv_norm's order; (N, in) -> (N, out)."""
    normalize = OfUnits(norm(out_features))
    linear = nn.Linear(in_features, out_features, bias=not _brings_bias(normalize))
    return _in_order("linear", linear, normalize, activation)


class OfUnits(nn.Module):
    """A norm made for maps, applied to units as maps of 1x1; (N, C) -> (N, C)."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm
        self.after_activation = _after_activation(norm)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.norm(x[:, :, None, None])
        return maps.flatten(1)


def _in_order(name: str, weighted: nn.Module, norm: nn.Module, activation: ActivationFactory | None) -> nn.Sequential:
    layers = [(name, weighted), ("norm", norm)]
    if activation is not None:
        layers.insert(1 if _after_activation(norm) else 2, ("activation", activation()))
    return nn.Sequential(OrderedDict(layers))


def _after_activation(norm: nn.Module) -> bool:
    return bool(getattr(norm, "after_activation", False))


def _brings_bias(norm: nn.Module) -> bool:
    return any(name.rpartition(".")[2] == "bias" for name, _ in norm.named_parameters())
