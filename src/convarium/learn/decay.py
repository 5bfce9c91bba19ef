"""Which parameters weight decay touches: the weights of convolutions and linear layers, never biases or norms."""

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from torch import nn
from torch.nn.modules.conv import _ConvNd

Decay = Literal["weights", "all"]


class Role(NamedTuple):
    """A trainable parameter: its name, the module that owns it, and whether it is a weight that decays."""

    name: str
    parameter: nn.Parameter
    owner: nn.Module
    decays: bool


def roles(net: nn.Module) -> list[Role]:
    """The trainable parameters of `net` in the order of `named_parameters()`, each once."""
    owners = dict(net.named_modules())
    each = []
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            owner = owners[name.rpartition(".")[0]]
            decays = parameter.ndim >= 2 and isinstance(owner, _ConvNd | nn.Linear)
            each.append(Role(name, parameter, owner, decays))
    return each


def parameter_groups(net: nn.Module, *, weight_decay: float, decay: Decay = "weights") -> list[dict[str, Any]]:
    """An optimizer's groups: "decay" with `weight_decay` and "plain" with none; decay="all" puts all in the first."""
    decayed = [role for role in roles(net) if role.decays or decay == "all"]
    plain = [role for role in roles(net) if not (role.decays or decay == "all")]
    groups: list[dict[str, Any]] = [
        {"name": "decay", "params": [role.parameter for role in decayed], "weight_decay": weight_decay},
        {"name": "plain", "params": [role.parameter for role in plain], "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def classifier_names(names: Iterable[str]) -> frozenset[str]:
    """The names among `names`, in the order of `named_parameters()`, that the module owning the last one owns."""
    names = list(names)
    if not names:
        return frozenset()
    owner = names[-1].rpartition(".")[0]
    return frozenset(name for name in names if name.rpartition(".")[0] == owner)
