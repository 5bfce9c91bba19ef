"""What a network does to an image, layer by layer: found by sending one through it that has a shape and no values.

Every call is seen where it reaches torch's library (ATen), with its real arguments, so that nothing depends on how a
module is written: windows, multiply-adds, receptive fields, and what reads what, come from what is computed.
"""

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NamedTuple

import torch
from torch import Tensor, UntypedStorage, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.hooks import RemovableHandle

from convarium.layers.norm import LocalResponse

IMAGE = -1  # the source that is no layer
BATCH = 2  # images: of one value a batch norm knows no spread


class Window(NamedTuple):
    """A kernel and how it moves; pairs are (rows, columns)."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1


class Span(NamedTuple):
    """What the units of a map see along one axis: unit i sees the pixels low + i * stride to high + i * stride.

    Pixels below 0 and beyond the image are padding.
    """

    low: int = 0
    high: int = 0
    stride: int = 1

    @property
    def size(self) -> int:
        return self.high - self.low + 1

    def windowed(self, kernel: int, stride: int, padding: int = 0, dilation: int = 1) -> "Span":
        """What windows over such units see."""
        low, high = self.low - padding * self.stride, self.high + (dilation * (kernel - 1) - padding) * self.stride
        return Span(low, high, self.stride * stride)

    def joined(self, other: "Span") -> "Span":
        return Span(min(self.low, other.low), max(self.high, other.high), max(self.stride, other.stride))


Field = tuple[Span, Span]
"""A receptive field: along the rows' axis, along the columns'."""


@dataclass(frozen=True)
class Layer:
    """A module at work that has no children, or a function between modules. Shapes are of one image, without the batch.

    What norms and gates take from whole maps is left out of `field`, as is usual: with it every unit sees everything.
    """

    name: str  # "stages.0.0.body.0.conv"; of a function "stages.0.0.add"; where it is called again "... #2"
    kind: str
    """conv, depthwise_conv, linear, norm, activation, max_pool, average_pool, global_pool, dropout, add, concat,
    multiply, pad; anything else has the name that torch gives it."""
    sources: tuple[int, ...]  # the numbers of the layers that it reads; IMAGE: the image
    inputs: tuple[int, ...]  # the shape of what it reads first
    outputs: tuple[int, ...]
    field: Field
    window: Window | None = None
    parameters: int = 0  # trainable ones that no layer before it has
    macs: int = 0  # multiply-adds of convolutions and matrix products
    kept: int = 0  # bytes in single precision of what it makes that training keeps until the gradients are computed
    is_auxiliary: bool = False  # it leads to the logits of an auxiliary classifier only
    module: nn.Module | None = None  # that it is or, of a function, that calls it


def trace(net: nn.Module, image: tuple[int, int, int]) -> tuple[Layer, ...]:
    """The layers of a network for an image (C, H, W), in the order in which they are called.

    It is seen as it trains, with auxiliary classifiers and dropout, in a copy without values unless it has none.
    What the network raises for such an image is raised.
    """
    if any(not tensor.is_meta for tensor in (*net.parameters(), *net.buffers())):
        net = copy.deepcopy(net).to("meta")
    modes = {module: module.training for module in net.modules()}  # a norm may evaluate in a network that trains
    images = torch.empty(BATCH, *image, device="meta")
    recorder = _Recorder(net, images)
    try:
        with recorder.following(net), recorder, saved_tensors_hooks(recorder.keep, lambda saved: saved):
            outputs = net.train()(images)
    finally:
        for module, is_training in modes.items():
            module.training = is_training
    logits = getattr(outputs, "logits", outputs)
    if not isinstance(logits, Tensor):
        raise ValueError(f"the network gives a {type(outputs).__name__}; accepted: logits, or a tuple that names them")
    return recorder.finished(logits)


@dataclass
class _Origin:
    """Where a tensor comes from."""

    layer: int | None = None  # None: from parameters and constants alone
    field: Field = (Span(), Span())
    parameters: frozenset[str] = frozenset()  # that it is made of beside what a layer gives


@dataclass
class _Call:
    """A module that is being called."""

    name: str
    module: nn.Module
    is_leaf: bool
    inputs: tuple[int, ...]
    draws: bool = False  # random numbers
    layer: int | None = None  # the layer that its calls go into, once there is one


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every ATen call of a network, and in which module it is made."""

    def __init__(self, net: nn.Module, images: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.layers: list[Layer] = []
        self.stack: list[_Call] = []
        self.sizes = {name: value.numel() for name, value in net.named_parameters() if value.requires_grad}
        self.counted: set[str] = set()
        self.calls: Counter[str] = Counter()  # of each layer's name
        self.origins: dict[int, tuple[Tensor, _Origin]] = {}  # with the tensor, lest another gets its id
        self.made: dict[UntypedStorage, int | _Call] = {}  # by which layer, or in which call where that is still open
        self.saved: dict[UntypedStorage, int] = {}  # the bytes of one image
        self._know(images, _Origin(IMAGE))
        for name, parameter in net.named_parameters():
            self._know(parameter, _Origin(parameters=frozenset({name})))

    def finished(self, logits: Tensor) -> tuple[Layer, ...]:
        """The layers, those marked that do not lead to these logits."""
        leading, ahead = set(), [self.origins[id(logits)][1].layer]
        while ahead:
            number = ahead.pop()
            if number is not None and number != IMAGE and number not in leading:
                leading.add(number)
                ahead += self.layers[number].sources
        kept: Counter[int | None] = Counter()
        for storage, size in self.saved.items():
            maker = self.made.get(storage)
            kept[maker.layer if isinstance(maker, _Call) else maker] += size
        marked = (replace(layer, is_auxiliary=k not in leading) for k, layer in enumerate(self.layers))
        return tuple(replace(layer, kept=kept[k]) for k, layer in enumerate(marked))

    def keep(self, tensor: Tensor) -> None:
        """Note what autograd saves, once though it save it as a view again. Statistics of the batch are left out."""
        if tensor.ndim > 1 and tensor.shape[0] == BATCH:
            storage = tensor.untyped_storage()
            self.saved[storage] = storage.nbytes() // BATCH

    @contextmanager
    def following(self, net: nn.Module) -> Iterator[None]:
        """Know the modules that are being called."""
        names = {module: name for name, module in net.named_modules()}

        def enter(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            shape = next((tuple(value.shape[1:]) for value in _tensors(inputs)), ())
            self.stack.append(_Call(names[module], module, not any(module.children()), shape))

        def leave(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            self.stack.pop()

        handles: list[RemovableHandle] = [module.register_forward_pre_hook(enter) for module in names]
        handles += [module.register_forward_hook(leave) for module in names]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        with self:  # as its parts, if it has some
            result = func.decompose(*args, **(kwargs or {}))
        if result is not NotImplemented:
            return result
        result = func(*args, **(kwargs or {}))
        maker = self._record(func.overloadpacket.__name__.rstrip("_"), args, result)
        for tensor in _tensors((result,)):
            if maker is not None:
                self.made.setdefault(tensor.untyped_storage(), maker)
        return result

    def _record(self, function: str, args: Sequence[Any], result: Any) -> int | _Call | None:
        """Follow a call from what it is given to what it gives; the layer that it belongs to, or else the module."""
        given = [self.origins.get(id(tensor), (tensor, _Origin())) for tensor in _tensors(args)]
        output = next(_tensors((result,)), None)
        if output is None or not self.stack:
            return None
        if function.startswith(("new_", "empty", "bernoulli")):
            self.stack[-1].draws |= function.startswith("bernoulli")
            return self.stack[-1]
        parameters = frozenset[str]().union(*(origin.parameters for _, origin in given))
        maps = [(tensor, origin) for tensor, origin in given if origin.layer is not None]
        if not maps:
            self._know(result, _Origin(parameters=parameters))
            return self.stack[-1]
        window = _window(function, args)
        seen = _field(function, args, window, maps, output)
        if function in VIEWS:
            source = maps[0][1].layer
            assert source is not None
            if source == self.stack[-1].layer and self.stack[-1].is_leaf and output.numel() == maps[0][0].numel():
                self.layers[source] = replace(self.layers[source], outputs=tuple(output.shape[1:]))
            self._know(result, _Origin(source, seen, parameters))
            return source
        number = self._layer(function, window, maps, output)
        layer = self.layers[number]
        if layer.kind == "norm":
            seen = layer.field
        fresh = [name for name in parameters if name not in self.counted]
        self.counted.update(fresh)
        self.layers[number] = replace(
            layer,
            outputs=tuple(output.shape[1:]),
            field=seen,
            parameters=layer.parameters + sum(self.sizes.get(name, 0) for name in fresh),
            macs=layer.macs + _macs(function, args, output),
        )
        self._know(result, _Origin(number, seen))
        return number

    def _layer(self, function: str, window: Window | None, maps: "Maps", output: Tensor) -> int:
        """The layer that a call belongs to: its module's, the one of the function before it, or a new one."""
        call = self.stack[-1]
        sources = tuple(dict.fromkeys(origin.layer for _, origin in maps if origin.layer is not None))
        kind = _kind(function, window, maps, output)
        if call.layer is not None and (call.is_leaf or sources == (call.layer,)):
            layer = self.layers[call.layer]
            more = tuple(source for source in sources if source != call.layer and source not in layer.sources)
            if layer.kind in WEAK and kind not in WEAK:
                layer = replace(layer, kind=kind)
            self.layers[call.layer] = replace(layer, sources=layer.sources + more, window=layer.window or window)
            return call.layer
        of_module = call.is_leaf or kind in ("conv", "depthwise_conv", "linear")
        if of_module:
            kind, inputs = _kind_of(call.module) or ("dropout" if call.draws else kind), call.inputs
        else:
            inputs = tuple(maps[0][0].shape[1:])
        name = call.name if of_module else f"{call.name}.{function}".lstrip(".")
        self.calls[name] += 1
        joined = _joined([origin.field for _, origin in maps])
        call.layer = len(self.layers)
        self.layers.append(
            Layer(
                name if self.calls[name] == 1 else f"{name} #{self.calls[name]}",
                kind,
                sources,
                inputs,
                tuple(output.shape[1:]),
                joined,
                window,
                module=call.module,
            )
        )
        return call.layer

    def _know(self, result: Any, origin: _Origin) -> None:
        for tensor in _tensors((result,)):
            self.origins[id(tensor)] = tensor, origin


Maps = list[tuple[Tensor, _Origin]]

VIEWS = {
    *("view", "_unsafe_view", "reshape", "t", "transpose", "permute", "unsqueeze", "squeeze", "expand", "alias"),
    *("detach", "slice", "select", "split", "split_with_sizes", "unbind", "index_select", "clone", "_to_copy"),
}
"""Functions that compute nothing: no layer of their own."""
KINDS = {
    "cat": "concat",
    "mul": "multiply",
    "constant_pad_nd": "pad",
    "max_pool2d_with_indices": "max_pool",
    "avg_pool2d": "average_pool",
    **dict.fromkeys(("mm", "addmm", "bmm"), "linear"),
    **dict.fromkeys(("sigmoid", "relu", "tanh", "silu", "gelu", "hardtanh", "hardswish", "hardsigmoid"), "activation"),
    **dict.fromkeys(("native_batch_norm", "native_group_norm", "native_layer_norm"), "norm"),
}
WEAK = {"pad", "multiply", "add"}  # a module that also does more is named by that: a pooling that pads


def _kind_of(module: nn.Module) -> str | None:
    """The kind that the class of a module says."""
    if isinstance(module, _DropoutNd):
        return "dropout"
    if isinstance(module, _NormBase | nn.GroupNorm | nn.LayerNorm | LocalResponse | nn.LocalResponseNorm):
        return "norm"
    if type(module).__module__ in (nn.ReLU.__module__, "convarium.layers.activation"):
        return "activation"
    return None


def _kind(function: str, window: Window | None, maps: Maps, output: Tensor) -> str:
    if function == "convolution" and window is not None:
        return "depthwise_conv" if window.groups == maps[0][0].shape[1] > 1 else "conv"
    shrinks = _sides(maps[0][0]) is not None and prod(_sides(output) or (1,)) == 1
    if function in ("mean", "_adaptive_avg_pool2d", "sum", "amax", "adaptive_max_pool2d") and shrinks:
        return "global_pool"
    return KINDS.get(function, function)


def _window(function: str, args: Sequence[Any]) -> Window | None:
    """The window of a convolution or pooling, from the arguments of the call."""
    if function == "convolution":
        _, weight, _, stride, padding, dilation, _, _, groups = args
        kernel = tuple(weight.shape[2:])
        return Window(kernel, _pair(stride), _pair(padding), _pair(dilation), groups) if len(kernel) == 2 else None
    if function in ("max_pool2d_with_indices", "avg_pool2d"):
        kernel, stride, padding, dilation = (*args[1:5], *([], 0, 1)[len(args) - 2 :])[:4]
        moves = (kernel, stride or kernel, padding, dilation if function != "avg_pool2d" else 1)
        kernel, stride, padding, dilation = map(_pair, moves)
        return Window(kernel, stride, padding, dilation)
    return None


def _macs(function: str, args: Sequence[Any], output: Tensor) -> int:
    """Multiply-adds for one image."""
    of_one = output.numel() // BATCH  # a linear layer at each position has more rows than there are images
    if function == "convolution":
        if args[6]:  # transposed: each value that comes in meets the weights
            of_one = args[0].numel() // BATCH
        return of_one * int(args[1][0].numel())
    if function in ("mm", "addmm", "bmm"):
        return of_one * int(args[-2].shape[-1])
    return 0


def _field(function: str, args: Sequence[Any], window: Window | None, maps: Maps, output: Tensor) -> Field:
    """What a unit of the output sees: rows, columns."""
    inputs, (rows, columns) = maps[0][0], maps[0][1].field
    if window is not None:
        at = zip((rows, columns), window.kernel, window.stride, window.padding, window.dilation, strict=True)
        down, across = (span.windowed(*moves) for span, *moves in at)
        return down, across
    if function == "constant_pad_nd":
        left, above = ([*args[1], 0, 0, 0, 0][k] for k in (0, 2))
        return rows.windowed(1, 1, above), columns.windowed(1, 1, left)
    before, after = _sides(inputs), _sides(output)
    if function in ("permute", "transpose") or (function in VIEWS and len(output) != BATCH):  # each place by itself
        return rows, columns
    if function == "slice" and before is not None:
        dim, start, _, step = (*args[1:], 0, None, None, 1)[:4] if len(args) > 1 else (0, 0, None, 1)
        spans = [rows, columns]
        if dim >= 2:
            size = before[dim - 2]
            first = min(max(start + size if start < 0 else start, 0), size) if start is not None else 0
            spans[dim - 2] = spans[dim - 2].windowed(1, step if len(args) > 4 else 1, -first)
        return spans[0], spans[1]
    if before is not None and after != before and len(maps) == 1:  # a mean over the map, or it becomes a vector
        spans = []
        for span, size, left in zip((rows, columns), before, after or (1, 1), strict=True):
            stride = max(1, size // left)
            spans.append(span.windowed(max(1, size - (left - 1) * stride), stride))
        return spans[0], spans[1]
    whole = [origin.field for tensor, origin in maps if _sides(tensor) == after]  # a gate has one value for a map
    return _joined(whole or [origin.field for _, origin in maps])


def _joined(fields: Iterable[Field]) -> Field:
    first, *others = fields
    for other in others:
        first = first[0].joined(other[0]), first[1].joined(other[1])
    return first


def _sides(tensor: Tensor) -> tuple[int, int] | None:
    """Rows and columns of maps, also of channels in groups; None for what has none."""
    return (tensor.shape[-2], tensor.shape[-1]) if tensor.ndim in (4, 5) else None


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    values = [value] if isinstance(value, int) else list(value)
    return values[0], values[-1]


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)
