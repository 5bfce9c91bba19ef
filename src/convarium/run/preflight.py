"""The checks that need torch: whether the network takes these images and parts, and the machine can do what is asked.

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

from convarium.config.instantiate import build
from convarium.errors import ConfigError
from convarium.layers.outputs import Outputs
from convarium.learn.dense import dense_logits
from convarium.run.devices import Placement, Preflight


class Seen(NamedTuple):
    """A layer on the way through the network, and the shape of what it was given."""

    name: str
    layer: nn.Module
    shape: torch.Size


class Refusal(NamedTuple):
    """A line of the table of parts that cannot be."""

    layer: tuple[type[nn.Module], ...]
    when: Callable[[Any, torch.Size, int, Placement], bool]
    """(layer, input shape, images per batch that it averages over, placement) -> whether it cannot be."""
    why: str
    accepted: str


LARGER = "another norm, or larger images or batches"
LARGER_IMAGES = "another norm, or larger images"
REFUSALS = (
    Refusal(
        (nn.BatchNorm2d, nn.BatchNorm1d),
        lambda layer, shape, batch, at: batch * shape[2:].numel() == 1,
        "has one value per channel to average over",
        LARGER,
    ),
    Refusal(
        (nn.SyncBatchNorm,),
        lambda layer, shape, batch, at: at.accelerator != "cuda",
        "works between CUDA GPUs only",
        "another norm, or CUDA GPUs",
    ),
    Refusal(
        (nn.SyncBatchNorm,),
        lambda layer, shape, batch, at: batch * at.ranks * shape[2:].numel() == 1,
        "has one value per channel to average over",
        LARGER,
    ),
    Refusal(
        (nn.InstanceNorm2d,),
        lambda layer, shape, batch, at: shape[2:].numel() == 1,
        "would make every 1x1 map zero",
        LARGER_IMAGES,
    ),
    Refusal(
        (nn.GroupNorm,),
        lambda layer, shape, batch, at: shape[1:].numel() == layer.num_groups,
        "would make every group of one value zero",
        LARGER_IMAGES,
    ),
)


def preflight(config: dict[str, Any], *, elsewhere: bool = False) -> Preflight:
    """Check a resolved config as far as torch alone can. Raises ConfigError, one line.

    elsewhere: it will run on another machine, of whose devices nothing is known here.
    """
    placement = place(config["trainer"], elsewhere=elsewhere)
    check_precision(config["precision"], placement)
    params, macs = check_net(config, placement)
    check_loss(config)
    check_dense(config)
    return Preflight(placement, params, macs)


def place(trainer: dict[str, Any], *, elsewhere: bool = False) -> Placement:
    """Resolve `trainer.accelerator` and `trainer.devices` against what this machine has, unless it runs elsewhere."""
    accelerator, devices = trainer["accelerator"], trainer["devices"]
    nodes = trainer["num_nodes"]
    if elsewhere:
        if accelerator not in ("gpu", "cuda", "cpu"):
            raise ConfigError(f"trainer.accelerator={accelerator}: it runs on another machine; accepted: gpu, cpu")
        if not isinstance(devices, int):
            raise ConfigError(f"trainer.devices={devices}: it runs on another machine; accepted: a number")
        return Placement("cpu" if accelerator == "cpu" else "cuda", devices, nodes)
    mps = torch.backends.mps.is_available()
    found = {"cuda": torch.cuda.device_count(), "mps": int(mps), "cpu": None}
    if accelerator == "auto":
        kind = "cuda" if found["cuda"] else "mps" if mps else "cpu"
        if kind != "cuda" and devices not in (1, "auto") and nodes == 1:
            raise ConfigError(
                f"trainer.devices={devices}: {_there(found)}; for {devices} processes on the CPU add"
                " trainer.accelerator=cpu"
            )
    elif accelerator == "gpu":
        kind = "mps" if mps and not found["cuda"] else "cuda"
    else:
        kind = accelerator
    if kind not in found:
        raise ConfigError(f"trainer.accelerator={accelerator}: accepted are auto, cpu, gpu, cuda, mps")
    if nodes > 1:  # this machine may be none of them
        if not isinstance(devices, int):
            raise ConfigError(f"trainer.devices={devices}: several machines need a number of devices on each")
        return Placement(kind, devices, nodes)
    there = found[kind]
    if there == 0:
        raise ConfigError(f"trainer.accelerator={accelerator}: {_there(found)}; accepted here: auto, cpu")
    if devices == "auto":
        return Placement(kind, there or 1, nodes)
    if there is not None and devices > there:
        raise ConfigError(
            f"trainer.devices={devices}: {_there(found)}; for {devices} processes on the CPU add"
            " trainer.accelerator=cpu"
        )
    return Placement(kind, devices, nodes)


def _there(found: dict[str, int | None]) -> str:
    count = found["cuda"] or found["mps"] or 0
    return f"this machine has {count or 'no'} GPU{'' if count == 1 else 's'}"


def check_precision(precision: dict[str, Any], placement: Placement) -> None:
    """Refuse number formats that the device does not have."""
    mode, kind = precision["mode"], placement.accelerator
    if mode == "16-mixed" and kind != "cuda":
        raise ConfigError(
            f"precision=fp16: not on {kind}, its loss scaling needs a CUDA GPU; accepted here: fp32, bf16"
        )
    if mode == "32-true" and precision["float32_matmul"] == "high" and kind != "cuda":
        raise ConfigError(f"precision=tf32: not on {kind}, only CUDA GPUs have it; accepted here: fp32, bf16")
    if kind == "cuda" and torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 0):
        name = torch.cuda.get_device_name()
        if mode == "bf16-mixed" and not torch.cuda.is_bf16_supported(including_emulation=False):
            raise ConfigError(f"precision=bf16: {name} cannot; accepted here: fp32, fp16")
        if mode == "32-true" and precision["float32_matmul"] == "high":
            raise ConfigError(f"precision=tf32: {name} cannot; accepted here: fp32, fp16")


def check_net(config: dict[str, Any], placement: Placement) -> tuple[int, int]:
    """Send a batch of the experiment's shape through the network; (parameters, multiply-adds of one image)."""
    data, trainer = config["data"], config["trainer"]
    size = int(data["image_size"])
    per_device = config["batch_size"] // (placement.ranks * trainer["accumulate_grad_batches"])
    net = without_values(config)
    with torch.device("meta"):
        images = torch.zeros(max(1, per_device), int(data["channels"]), size, size)
    seen = _watch(net, images[:2], config, placement, max(1, per_device))
    _check_dropout(net, config)
    _check_logits(net, images, config)
    del seen
    net.eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        net(images[:1])
    params = sum(parameter.numel() for parameter in net.parameters() if parameter.requires_grad)
    return params, counter.get_total_flops() // 2


def check_loss(config: dict[str, Any]) -> None:
    """Refuse a loss that has no meaning for so many logits."""
    loss, logits = build(config["loss"], "loss"), torch.zeros(1, int(config["data"]["num_classes"]))
    try:
        loss(logits, torch.zeros(1, dtype=torch.long))
    except ValueError as error:
        raise ConfigError(f"data.num_classes={config['data']['num_classes']}: {error}") from error


def check_dense(config: dict[str, Any]) -> None:
    """Refuse test.dense=true of a network that does not take pictures larger than its images."""
    if not config["test"].get("dense"):
        return
    net, size = without_values(config).eval(), int(config["data"]["image_size"])
    with torch.device("meta"):
        picture = torch.zeros(1, int(config["data"]["channels"]), size, 2 * size)
    try:
        with torch.no_grad():
            dense_logits(net, picture)
    except (RuntimeError, ValueError) as error:
        why = " ".join(str(error).split())
        raise ConfigError(f"test.dense=true: arch={_choice(config, 'arch')} {why}; accepted: false") from error


def without_values(config: dict[str, Any]) -> nn.Module:
    """The network of a config on the meta device, where layers have shapes only. Raises ConfigError."""
    arch = copy.deepcopy(config["arch"])
    if arch.get("parts"):
        arch["parts"]["init"] = None  # values play no part here
    with torch.device("meta"):
        net: nn.Module = build(arch, "arch")
    return net


def _watch(net: nn.Module, images: Tensor, config: dict[str, Any], placement: Placement, per_device: int) -> list[Seen]:
    """Run the network once in training mode, looking at every layer on the way."""
    seen: list[Seen] = []

    def look(name: str) -> Callable[[nn.Module, Any], None]:
        def before(layer: nn.Module, inputs: Any) -> None:
            if inputs and isinstance(inputs[0], Tensor):
                seen.append(Seen(name, layer, inputs[0].shape))
                for refusal in REFUSALS:
                    if isinstance(layer, refusal.layer) and refusal.when(layer, inputs[0].shape, per_device, placement):
                        raise ConfigError(
                            f"norm={_choice(config, 'norm')}: at {name}, {_maps(inputs[0].shape)} and {per_device}"
                            f" image{'s' * (per_device > 1)} per device, it {refusal.why};"
                            f" accepted: {refusal.accepted}"
                        )

        return before

    hooks = [
        layer.register_forward_pre_hook(look(name)) for name, layer in net.named_modules() if not list(layer.children())
    ]
    net.train()
    if images.shape[0] == 1:  # torch refuses to normalize over one value; the table above has judged that already
        images = images.repeat(2, 1, 1, 1)
    for layer in net.modules():
        if isinstance(layer, nn.SyncBatchNorm):
            layer.eval()  # has no meta kernel
    try:
        with torch.no_grad():
            net(images)
    except (RuntimeError, ValueError) as error:
        raise _complaint(error, seen, config) from error
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _complaint(error: Exception, seen: list[Seen], config: dict[str, Any]) -> ConfigError:
    arch, size = _choice(config, "arch"), config["data"]["image_size"]
    message = re.sub(r"\s+", " ", str(error)).strip().rstrip(".")
    if not seen:
        return ConfigError(f"arch={arch}: {message}")
    name, _, shape = seen[-1]
    if re.search(r"too small|can't be greater than actual input|[Ii]nvalid computed output size", message):
        return ConfigError(
            f"data.image_size={size}: too small for arch={arch}: its layer {name} is left with {_maps(shape)}"
        )
    channels = config["data"]["channels"]
    return ConfigError(
        f"arch={arch}: does not take {channels}x{size}x{size} images: layer {name}, given {_maps(shape)}: {message}"
    )


def _check_dropout(net: nn.Module, config: dict[str, Any]) -> None:
    rate = config["dropout"]
    if rate and not any(isinstance(layer, nn.modules.dropout._DropoutNd) for layer in net.modules()):
        raise ConfigError(f"dropout={rate}: arch={_choice(config, 'arch')} has no place for it; accepted: null")


def _check_logits(net: nn.Module, images: Tensor, config: dict[str, Any]) -> None:
    net.eval()
    with torch.no_grad():
        outputs = net(images[:1])
    logits = outputs.logits if isinstance(outputs, Outputs) else outputs
    classes = int(config["data"]["num_classes"])
    if tuple(logits.shape) != (1, classes):
        raise ConfigError(f"arch.num_classes={logits.shape[1]}: data.num_classes={classes}; they must be equal")


def _maps(shape: torch.Size) -> str:
    return f"{shape[2]}x{shape[3]} maps" if len(shape) == 4 else f"{shape[1]} units"


def _choice(config: dict[str, Any], group: str) -> str:
    """How the chosen member of a group is called in a message: its file's name where it is known."""
    if group == "arch":
        return str(config["name"]).rpartition("-")[0] or str(config["name"])
    target = (config.get(group) or {}).get("_target_", "paper")
    return str(target).rpartition(".")[2].lower()
