"""Initializations of a whole network in place, one per member of the group `init`.

Each draws the weights of the convolutions and linear layers and sets their biases to zero, except where its docstring
says otherwise. Normalization layers keep scale 1 and bias 0.
"""

from collections.abc import Iterator, Sequence

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn


def he(net: nn.Module) -> None:
    """Normal with variance 2/fan_in (He et al. 2015, equation 10)."""
    for weight in _weights(net):
        nn.init.kaiming_normal_(weight, nonlinearity="relu")


def xavier(net: nn.Module) -> None:
    """Uniform with variance 2/(fan_in + fan_out) (Glorot & Bengio 2010, equation 16)."""
    for weight in _weights(net):
        nn.init.xavier_uniform_(weight)


def lecun(net: nn.Module) -> None:
    """Normal with variance 1/fan_in (LeCun et al. 1998, "Efficient BackProp", equation 16)."""
    for weight in _weights(net):
        nn.init.kaiming_normal_(weight, nonlinearity="linear")


def orthogonal(net: nn.Module, *, gain: float = 1.0) -> None:
    """Orthonormal rows or columns of each weight as a matrix, times gain (Saxe et al. 2013)."""
    for weight in _weights(net):
        nn.init.orthogonal_(weight, gain)


def normal(net: nn.Module, *, std: float = 0.01, ones: Sequence[str] = ()) -> None:
    """Normal with one standard deviation for all layers, as before 2014 (0.01: Krizhevsky et al. 2012, section 5).

    The biases of what the modules named in `ones` hold start at 1. Raises ValueError for a name that is not there.
    """
    for weight in _weights(net):
        nn.init.normal_(weight, std=std)
    modules = dict(net.named_modules())
    for name in ones:
        if name not in modules:
            raise ValueError(
                f"init: ones={name}: no such layer; this network has {', '.join(dict(net.named_children()))}"
            )
        for module in weighted(modules[name]):
            if module.bias is not None:
                nn.init.ones_(module.bias)


def uniform_fan_in(net: nn.Module, *, bound: float = 2.4) -> None:
    """Weights and biases uniform within bound/fan_in on either side of zero (LeCun et al. 1998, appendix A)."""
    for module in weighted(net):
        limit = bound / module.weight[0].numel()
        nn.init.uniform_(module.weight, -limit, limit)
        if module.bias is not None:
            nn.init.uniform_(module.bias, -limit, limit)


def partly_from(net: nn.Module, *, weights: str, modules: Sequence[str], std: float = 0.01) -> None:
    """Normal, but for `modules`, which have what is in a file: the weights.safetensors of a run of a network like it.

    Raises ValueError if the file cannot be read, or has not these parameters in the same shapes.
    """
    normal(net, std=std)
    try:
        trained = load_file(weights)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"weights={weights}: not weights that can be read ({type(error).__name__})") from error
    for module in modules:
        for name, parameter in net.get_submodule(module).named_parameters():
            key, shape = f"{module}.{name}", list(parameter.shape)
            found = list(trained[key].shape) if key in trained else "none"
            if found != shape:
                raise ValueError(f"weights={weights}: {key} of shape {shape} is wanted, there is {found}")
            parameter.detach().copy_(trained[key])


def zeros(net: nn.Module) -> None:
    """Weights and biases zero: for a network of one layer, which has no symmetry to break."""
    for weight in _weights(net):
        nn.init.zeros_(weight)


def weighted(net: nn.Module) -> Iterator[nn.Conv2d | nn.Linear]:
    """The convolutions and linear layers, in order."""
    return (module for module in net.modules() if isinstance(module, nn.Conv2d | nn.Linear))


def _weights(net: nn.Module) -> Iterator[Tensor]:
    """The weights of convolutions and linear layers, in order, their biases set to zero on the way."""
    for module in weighted(net):
        if module.bias is not None:
            nn.init.zeros_(module.bias)
        yield module.weight
