"""How much memory a training step takes at most: one is carried out without values, and what is alive is counted.

Private names of torch's are used here: tensors that have a device and no values (FakeTensorMode), which mixed precision
needs, and the mode that sees every call.
"""

import weakref
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, UntypedStorage, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.optim import Optimizer
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from convarium.layers.outputs import Outputs

Criterion = Callable[[Tensor | Outputs, Tensor], Tensor]  # outputs, class numbers -> losses


class Memory(NamedTuple):
    """Bytes of a training step. Kernels' own working memory, and what an allocator rounds up, are not counted."""

    weights: int  # and buffers
    gradients: int
    optimizer: int
    batch: int
    activations: int  # alive when the loss is known
    transient: int  # what more there is at the worst moment
    peak: int


def training_memory(
    make: Callable[[], nn.Module],
    images: tuple[int, int, int, int],
    criterion: Criterion,
    optimizer: Callable[[nn.Module], Optimizer],
    half: torch.dtype | None = None,
) -> Memory:
    """The memory of a step on images (N, C, H, W), float32 or mixed with `half`; the last step's gradients are alive
    until its backward pass begins, as in Lightning's loop.

    make: the network; optimizer: of it. A fused optimizer is assumed to need no room for its step.
    """
    with FakeTensorMode(), torch.random.fork_rng(devices=[]):
        net = make().train()
        batch = torch.empty(images), torch.zeros(images[0], dtype=torch.long)
        trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
        step = optimizer(net)
        with _Counter() as counter:
            counter.add((*net.parameters(), *net.buffers()))
            weights = counter.now
            counter.add(batch)
            for parameter in trained:
                parameter.grad = torch.zeros_like(parameter)
            before = counter.now
            is_fused = _without_fused(step)
            step.step()  # the first one makes its state
            gradients = before - weights - sum(map(_bytes, batch))
            state = counter.now - before
            if is_fused:
                counter.peak = counter.now
            with torch.autocast("cpu", dtype=half or torch.bfloat16, enabled=half is not None):
                outputs = net(batch[0])
                loss = criterion(outputs, batch[1]).mean()
            activations = counter.now - before - state
            step.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
        parts = (weights, gradients, state, sum(map(_bytes, batch)), activations)
        return Memory(*parts, counter.peak - sum(parts), counter.peak)


def _without_fused(optimizer: Optimizer) -> bool:
    """Have a step made of single operations, for the fused one has no meaning without values; whether it was fused."""
    fused = [group for group in optimizer.param_groups if group.get("fused")]
    for group in fused:
        group["fused"] = None
        group["foreach"] = False
    return bool(fused)


def _bytes(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """The bytes that are alive and, of those that calls have made, the most that ever were."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self.alive: weakref.WeakSet[UntypedStorage] = weakref.WeakSet()

    def add(self, values: Any) -> None:
        for tensor in tree_leaves(values):
            if isinstance(tensor, Tensor) and (storage := tensor.untyped_storage()) not in self.alive:
                self.alive.add(storage)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._free, storage.nbytes())
        self.peak = max(self.peak, self.now)

    def _free(self, size: int) -> None:
        self.now -= size

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.add(result)
        return result
