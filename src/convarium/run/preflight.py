"""The checks that need torch: whether the network takes these images and parts, and the loss and the views fit it.

Nothing is trained and nothing is written; the network is built on the meta device, where layers have shapes and no
values. Lightning is not imported here.
"""

import copy
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from convarium.archs.weights.fitting import AUXILIARY
from convarium.config.instantiate import build
from convarium.errors import ConfigError
from convarium.layers.outputs import Outputs
from convarium.learn.dense import dense_logits
from convarium.learn.losses import ClassificationLoss
from convarium.learn.optimizers import build_optimizer
from convarium.machine import require_memory
from convarium.run.devices import Placement, Preflight, check_precision, place
from convarium.wording import counted, one_line


class Refusal(NamedTuple):
    """A line of the table of parts that cannot be."""

    layer: Any  # a class, or a union of classes
    when: Callable[[Any, torch.Size, int, Placement], bool]
    """(layer, input shape, images per batch that it averages over, placement) -> whether it cannot be."""
    why: str
    accepted: str


# why it cannot be, and what is accepted
ONE_VALUE = "has one value per channel to average over", "another norm, or larger images or batches"
NO_GPUS = "works between CUDA GPUs only", "another norm, or CUDA GPUs"
ZERO_MAPS = "would make every 1x1 map zero", "another norm, or larger images"
ZERO_GROUPS = "would make every group of one value zero", "another norm, or larger images"
REFUSALS = (
    Refusal(nn.BatchNorm2d | nn.BatchNorm1d, lambda layer, shape, batch, at: batch * _size(shape) == 1, *ONE_VALUE),
    Refusal(nn.SyncBatchNorm, lambda layer, shape, batch, at: at.accelerator != "cuda", *NO_GPUS),
    Refusal(nn.SyncBatchNorm, lambda layer, shape, batch, at: batch * at.ranks * _size(shape) == 1, *ONE_VALUE),
    Refusal(nn.InstanceNorm2d, lambda layer, shape, batch, at: _size(shape) == 1, *ZERO_MAPS),
    Refusal(nn.GroupNorm, lambda layer, shape, batch, at: shape[1:].numel() == layer.num_groups, *ZERO_GROUPS),
)


def preflight(config: dict[str, Any], loss: ClassificationLoss, *, elsewhere: bool = False) -> Preflight:
    """Check a resolved config, whose loss is `loss`, as far as torch alone can. Raises ConfigError, one line.

    elsewhere: it will run on another machine, of whose devices nothing is known here.
    """
    placement = place(config["trainer"], elsewhere=elsewhere)
    check_precision(config["precision"], placement)
    net = without_values(config)
    params, macs, heads = check_net(net, config, placement)
    if not elsewhere and placement.nodes == 1:
        check_memory(net, config, placement)
    check_loss(config, loss, heads)
    check_metrics(config)
    check_dense(net, config)
    return Preflight(placement, params, macs, notes_on(net, _per_device(config, placement)))


def check_net(net: nn.Module, config: dict[str, Any], placement: Placement) -> tuple[int, int, int]:
    """Send a batch of the experiment's shape through its network, which is without values. Raises ConfigError.

    Its trainable numbers, the multiply-adds of one image without auxiliary classifiers, and how many of these it has.
    """
    data, per_device = config["data"], _per_device(config, placement)
    size = int(data["image_size"])
    with torch.device("meta"):
        images = torch.zeros(per_device, int(data["channels"]), size, size)
    outputs = _watch(net, images[:2], config, placement, per_device)
    if not isinstance(outputs, Tensor | Outputs):
        raise ConfigError(
            f"arch={_choice(config, 'arch')}: gives a {type(outputs).__name__} in training; accepted: logits, or"
            " convarium.layers.Outputs"
        )
    heads = len(outputs.aux) if isinstance(outputs, Outputs) else 0
    if (rate := config["dropout"]) and not any(
        isinstance(layer, nn.modules.dropout._DropoutNd) for layer in net.modules()
    ):
        raise ConfigError(f"dropout={rate}: arch={_choice(config, 'arch')} has no place for it; accepted: null")
    net.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        logits = net(images[:1])
    logits = logits.logits if isinstance(logits, Outputs) else logits
    if logits.shape != (1, classes := int(data["num_classes"])):
        raise ConfigError(f"arch.num_classes={logits.shape[1]}: data.num_classes={classes}; they must be equal")
    params = sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
    return params, counter.get_total_flops() // 2, heads


def notes_on(net: nn.Module, per_device: int) -> tuple[str, ...]:
    """How many parameters are in auxiliary heads, and which norms are instance norms under another name, for each group
    is one channel, or the batch one image.
    """
    notes = []
    in_heads = sum(value.numel() for key, value in net.named_parameters() if key.startswith(AUXILIARY))
    if in_heads:
        notes.append(f"{in_heads:,} of the parameters are in auxiliary heads, in training only")
    grouped = [layer for layer in net.modules() if isinstance(layer, nn.GroupNorm)]
    single = sum(layer.num_groups == layer.num_channels > 1 for layer in grouped)
    if single:
        notes.append(f"{single} of {len(grouped)} group norms are instance norms: norm.channels_per_group=1")
    if per_device == 1 and any(isinstance(layer, nn.BatchNorm2d) for layer in net.modules()):
        notes.append("one image at a time: batch norm is instance norm in training")
    return tuple(notes)


def check_last_batch(config: dict[str, Any], placement: Placement, images: int) -> None:
    """Refuse an incomplete last batch of so many images if a normalization would average over one value per channel."""
    per_device = images // (placement.ranks * config["trainer"]["accumulate_grad_batches"])
    if per_device > 1:
        return
    data = config["data"]
    with torch.device("meta"):
        image = torch.zeros(1, int(data["channels"]), int(data["image_size"]), int(data["image_size"]))
    try:
        _watch(without_values(config), image, config, placement, per_device)
    except ConfigError as error:
        raise ConfigError(
            f"batch_size={config['batch_size']}: leaves {counted(images, 'image')} for the last batch of an"
            f" epoch; {str(error).partition('; accepted')[0]}; accepted: data.drop_last=true or another batch_size"
        ) from error


def check_memory(net: nn.Module, config: dict[str, Any], placement: Placement) -> None:
    """Refuse a network, without values, whose weights, gradients and optimizer do not fit, and such a micro-batch.

    What is kept of a batch on its way through the layers is not counted. The ranks of a CPU share its memory.
    """
    device = torch.cuda.get_device_properties(0).total_memory if placement.accelerator == "cuda" else None
    sharing = placement.devices if device is None else 1
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    kept = _bytes([*net.state_dict().values(), *trained])
    if kept > 1e9:  # the optimizer takes a step without values, which takes a moment
        node = {name: value for name, value in config["optimizer"].items() if name != "fused"}  # no such kernel
        optimizer = build_optimizer(build(node, "optimizer"), net, config["decay"])
        for parameter in trained:
            parameter.grad = torch.empty_like(parameter)
        optimizer.step()
        states = (value for state in optimizer.state.values() for value in state.values())
        kept += _bytes([value for value in states if isinstance(value, Tensor)])
    what = f"the network, its gradients and optimizer={_choice(config, 'optimizer')} take"
    require_memory(sharing * kept, f"arch={_choice(config, 'arch')}: {what}", device)
    data = config["data"]
    batch = _per_device(config, placement) * int(data["channels"]) * int(data["image_size"]) ** 2 * 4
    require_memory(
        sharing * batch, f"batch_size={config['batch_size']}: images of {data['image_size']} pixels take", device
    )


def _bytes(tensors: list[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def check_loss(config: dict[str, Any], loss: ClassificationLoss, heads: int | None = None) -> None:
    """Refuse a loss that has no meaning for so many logits or auxiliary classifiers, or for the views of the test."""
    classes = int(config["data"]["num_classes"])
    try:
        loss(torch.zeros(1, classes), torch.zeros(1, dtype=torch.long))
    except ValueError as error:
        raise ConfigError(f"data.num_classes={classes}: {error}") from error
    if heads is not None:
        try:
            loss.check_heads(heads)
        except ValueError as error:
            raise ConfigError(str(error)) from error
    check_views(config, loss)


def check_views(config: dict[str, Any], loss: ClassificationLoss) -> None:
    """Refuse several views of a picture, whose probabilities are averaged, with a loss that is no function of these."""
    test = config["test"]
    views, dense = test.get("views", 1), test.get("dense")
    several = views != 1 or dense or test.get("flip")
    if several and not loss.is_of_probabilities(int(config["data"]["num_classes"])):
        key = "test.dense=true" if dense else f"test.views={views}" if views != 1 else "test.flip=true"
        raise ConfigError(
            f"{key}: averages probabilities, of which this loss ({type(loss).__name__}) is no function; accepted:"
            " loss=cross_entropy, hinge, mse with loss.on=probabilities, or bce of binary data; else test.views=1"
        )


def check_metrics(config: dict[str, Any]) -> None:
    """Refuse a metric that does not take logits and class numbers, or whose value is not one number."""
    classes = max(2, int(config["data"]["num_classes"]))
    rows = min(classes, max(2, 10**6 // classes))
    logits, targets = torch.eye(rows, classes), torch.arange(rows)  # each class once: no metric warns of one it lacks
    for name, metric in build(config["metrics"], "metrics").items():
        try:
            metric.update(logits, targets)
            float(metric.compute())
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            raise ConfigError(
                f"metrics.{name}: does not measure {classes} classes by one number ({one_line(error)})"
            ) from error


def check_dense(net: nn.Module, config: dict[str, Any]) -> None:
    """Refuse test.dense=true of a network, without values, that does not take pictures larger than its images."""
    if not config["test"].get("dense"):
        return
    net, size = net.eval(), int(config["data"]["image_size"])
    with torch.device("meta"):
        picture = torch.zeros(1, int(config["data"]["channels"]), size, 2 * size)
    try:
        with torch.no_grad():
            dense_logits(net, picture)
    except (RuntimeError, ValueError) as error:
        raise ConfigError(
            f"test.dense=true: arch={_choice(config, 'arch')} {one_line(error)}; accepted: false"
        ) from error


def without_values(config: dict[str, Any]) -> nn.Module:
    """The network of a config on the meta device, where layers have shapes only. Raises ConfigError."""
    arch = copy.deepcopy(config["arch"])
    if arch.get("parts"):
        arch["parts"]["init"] = None  # values play no part here
    try:
        with torch.device("meta"):
            net: nn.Module = build(arch, "arch")
    except RuntimeError as error:  # of layers with more bytes than can be counted
        raise ConfigError(f"arch={_choice(config, 'arch')}: {one_line(error)}") from error
    return net


def _per_device(config: dict[str, Any], placement: Placement) -> int:
    """Images that a device has at a time."""
    at_a_time: int = placement.ranks * config["trainer"]["accumulate_grad_batches"]
    return max(1, int(config["batch_size"]) // at_a_time)


def _watch(net: nn.Module, images: Tensor, config: dict[str, Any], placement: Placement, per_device: int) -> Any:
    """What the network gives in training mode, every layer on the way looked at."""
    seen: list[tuple[str, torch.Size]] = []  # the layers so far, and the shape of what each was given

    def look(name: str) -> Callable[[nn.Module, Any], None]:
        def before(layer: nn.Module, inputs: Any) -> None:
            if inputs and isinstance(inputs[0], Tensor):
                seen.append((name, inputs[0].shape))
                for refusal in REFUSALS:
                    if isinstance(layer, refusal.layer) and refusal.when(layer, inputs[0].shape, per_device, placement):
                        raise ConfigError(
                            f"norm={_choice(config, 'norm')}: at {name}, {_maps(inputs[0].shape)} and"
                            f" {counted(per_device, 'image')} per device, it {refusal.why};"
                            f" accepted: {refusal.accepted}"
                        )

        return before

    hooks = [
        layer.register_forward_pre_hook(look(name)) for name, layer in net.named_modules() if not list(layer.children())
    ]
    net.train()
    if images.shape[0] == 1:  # torch refuses to normalize over one value; the table above has refused that already
        images = images.repeat(2, 1, 1, 1)
    for layer in net.modules():
        if isinstance(layer, nn.SyncBatchNorm):
            layer.eval()  # has no meta kernel
    try:
        with torch.no_grad():
            return net(images)
    except (RuntimeError, ValueError) as error:
        raise _complaint(error, seen, config) from error
    finally:
        for hook in hooks:
            hook.remove()


def _complaint(error: Exception, seen: list[tuple[str, torch.Size]], config: dict[str, Any]) -> ConfigError:
    arch, size = _choice(config, "arch"), config["data"]["image_size"]
    message = one_line(error).rstrip(".")
    if not seen:
        return ConfigError(f"arch={arch}: {message}")
    name, shape = seen[-1]
    if re.search(r"too small|can't be greater than actual input|[Ii]nvalid computed output size", message):
        return ConfigError(
            f"data.image_size={size}: too small for arch={arch}: its layer {name} is left with {_maps(shape)}"
        )
    channels = config["data"]["channels"]
    return ConfigError(
        f"arch={arch}: does not take {channels}x{size}x{size} images: layer {name}, given {_maps(shape)}: {message}"
    )


def _size(shape: torch.Size) -> int:
    """Positions of a map; 1 of a unit."""
    return shape[2:].numel()


def _maps(shape: torch.Size) -> str:
    return f"{shape[2]}x{shape[3]} maps" if len(shape) == 4 else f"{shape[1]} units"


def _choice(config: dict[str, Any], group: str) -> str:
    """How the chosen member of a group is called in a message: its file's name where it is known."""
    target = (config.get(group) or {}).get("_target_", "paper")
    choices = config.get("choices")  # which older runs lack
    return str((isinstance(choices, dict) and choices.get(group)) or str(target).rpartition(".")[2].lower())
