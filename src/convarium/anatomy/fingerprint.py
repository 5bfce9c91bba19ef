"""Whether two networks are the same by construction, from the calls that build them, without values.

Private names of torch's: `_cdata` of a storage, which tells two of them apart, and the `_backward_hooks` of a tensor.
"""

import functools
import hashlib
import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode, resolve_name

PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.layout, torch.memory_format)
TENSORS = ("_parameters", "_buffers")  # where a module has them


class Opaque(Exception):
    """A value of which it cannot be said whether another one is equal to it."""


def fingerprint(make: Callable[[], nn.Module]) -> str | None:
    """16 hexadecimal digits, equal only for networks that are the same; None where that cannot be said.

    Networks are the same by construction if they have the same modules at the same places, with the same attributes
    and tensors, and these were made and filled by the same calls of torch with the same arguments, in the same order:
    from one seed they then have the same values, bit for bit, and learn the same. `make` runs on the meta device. A
    network has no fingerprint if a part of it is neither data nor a class or function with a name of its own: a lambda,
    an object of another class, the values of a file. Other versions of torch or of this package make other ones.
    """
    calls = Calls()
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), calls:
            torch.manual_seed(0)
            net = make()
        numbers: dict[nn.Module, int] = {}  # one module may stand at two places
        modules = [
            [name, numbers.setdefault(module, len(numbers)), *map(calls.described, (type(module), _attributes(module)))]
            for name, module in net.named_modules(remove_duplicate=False)
        ]
    except Exception:  # whatever the meta device or an own network raises: it is not known to be the same as another
        return None
    calls.hash.update(json.dumps(modules).encode())
    return calls.hash.hexdigest()[:16]


def _attributes(module: nn.Module) -> dict[str, Any]:
    """All that a module has, its tensors too, but for the modules in it."""
    return {**vars(module), "_modules": [*module._modules]}


class Calls(TorchFunctionMode):
    """Takes note of each call of torch with its arguments; a tensor is known by its storage, which a call has made."""

    def __init__(self) -> None:
        super().__init__()
        self.hash = hashlib.sha256(f"{version('convarium')} {torch.__version__}".encode())
        self._numbers: dict[int, int] = {}  # of storages, in the order in which they were made
        self._kept: list[Any] = []  # so that no storage takes the place of another one

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = resolve_name(func) or self.described(func)
        call = [name, self.described(args), self.described(kwargs or {}), torch.initial_seed()]
        self.hash.update(json.dumps(call).encode())
        result = func(*args, **(kwargs or {}))
        for one in result if isinstance(result, list | tuple) else (result,):
            if isinstance(one, Tensor):
                storage = one.untyped_storage()
                self._kept.append(storage)
                self._numbers.setdefault(storage._cdata, len(self._numbers))
        return result

    def described(self, value: Any) -> Any:
        """A value as JSON that only equal values have. Raises Opaque."""
        kind = type(value)
        if value is None or value is Ellipsis or kind in PLAIN:
            return [kind.__name__, repr(value)]
        if isinstance(value, Tensor):
            number = self._numbers.get(value.untyped_storage()._cdata)
            if number is None or value._backward_hooks:
                raise Opaque
            place = [number, value.shape, value.stride(), value.storage_offset(), str(value.dtype), value.requires_grad]
            return [_name(kind), *place, self.described(vars(value))]
        if isinstance(value, functools.partial):
            return ["partial", *map(self.described, (value.func, value.args, value.keywords))]
        if isinstance(value, slice):
            return ["slice", *map(self.described, (value.start, value.stop, value.step))]
        if isinstance(value, dict):
            return [_name(kind), *([*map(self.described, item)] for item in value.items())]
        if isinstance(value, list | tuple):
            return [_name(kind), *map(self.described, value)]
        if isinstance(value, set | frozenset):
            return [_name(kind), *sorted(map(self.described, value))]
        return [_name(value)]


def _name(value: Any) -> str:
    """What a class or function is called where it can be found again. Raises Opaque for anything else."""
    module, path = str(getattr(value, "__module__", None)), str(getattr(value, "__qualname__", None))
    found: Any = sys.modules.get(module)
    for part in path.split("."):
        found = getattr(found, part, None)
    if found is None or found is not value:
        raise Opaque
    return f"{module}.{path}"
