"""Where a run computes: devices, processes, number formats, and what Lightning is told of them.

No torch until one of the functions is called.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from convarium.errors import ConfigError, RunError
from convarium.machine import available_cores
from convarium.wording import counted

if TYPE_CHECKING:
    from lightning.pytorch.plugins.environments import ClusterEnvironment

PROCESSES_PER_CORE = 8
RANK_VARIABLES = frozenset({"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"})
"""The variables by which any starter can tell a rank what it is."""


class Placement(NamedTuple):
    """Where a run computes: the kind of device, how many of them on each machine, and how many machines."""

    accelerator: str
    """cpu, cuda or mps."""
    devices: int
    nodes: int

    @property
    def ranks(self) -> int:
        return self.devices * self.nodes

    @property
    def description(self) -> str:
        """For the header and result.json."""
        kind = self.accelerator
        if kind == "cuda":
            import torch

            kind = torch.cuda.get_device_name()
        return f"{self.ranks} x {kind}" if self.ranks > 1 else kind


class Preflight(NamedTuple):
    """What the checks found out on the way."""

    placement: Placement
    params: int
    """Trainable numbers."""
    macs: int
    """Multiply-adds of convolutions and linear layers for one image, without auxiliary heads."""
    notes: tuple[str, ...] = ()
    """What the header says about the network that its numbers do not show."""
    network: str = ""
    """Its fingerprint, where a sweep asks for it and it has one."""


@dataclass(frozen=True)
class Precision:
    """`mode` is Lightning's precision; `float32_matmul` is what GPUs may do to float32 products: "high" allows TF32."""

    mode: Literal["32-true", "bf16-mixed", "16-mixed"]
    float32_matmul: Literal["highest", "high"]

    def apply(self) -> None:
        """Set the process-wide switches for products and convolutions of float32 numbers."""
        import torch

        torch.set_float32_matmul_precision(self.float32_matmul)
        torch.backends.cudnn.allow_tf32 = self.float32_matmul == "high"


def place(trainer: dict[str, Any], *, elsewhere: bool = False) -> Placement:
    """Resolve `trainer.accelerator` and `trainer.devices` against what this machine has, unless it runs elsewhere."""
    import torch

    accelerator, devices = trainer["accelerator"], trainer["devices"]
    nodes = trainer["num_nodes"]
    if elsewhere:
        if accelerator not in ("gpu", "cuda", "cpu"):
            raise ConfigError(f"trainer.accelerator={accelerator}: it runs on another machine; accepted: gpu, cpu")
        if not isinstance(devices, int):
            raise ConfigError(f"trainer.devices={devices}: it runs on another machine; accepted: a number")
        return Placement("cpu" if accelerator == "cpu" else "cuda", devices, nodes)
    mps = torch.backends.mps.is_available()
    available = {"cuda": torch.cuda.device_count(), "mps": int(mps), "cpu": None}
    on_cpu = f"for {devices} processes on the CPU add trainer.accelerator=cpu"
    if accelerator == "auto":
        kind = "cuda" if available["cuda"] else "mps" if mps else "cpu"
        if kind != "cuda" and devices not in (1, "auto") and nodes == 1:
            raise ConfigError(f"trainer.devices={devices}: {_gpus(available)}; {on_cpu}")
    elif accelerator == "gpu":
        kind = "mps" if mps and not available["cuda"] else "cuda"
    else:
        kind = accelerator
    if nodes > 1:  # this machine may be none of them
        if not isinstance(devices, int):
            raise ConfigError(f"trainer.devices={devices}: several machines need a number of devices on each")
        return Placement(kind, devices, nodes)
    count = available[kind]
    if count == 0:
        raise ConfigError(f"trainer.accelerator={accelerator}: {_gpus(available)}; accepted here: auto, cpu")
    if devices == "auto":
        return Placement(kind, count or 1, nodes)
    if count is not None and devices > count:
        raise ConfigError(f"trainer.devices={devices}: {_gpus(available)}; {on_cpu}")
    if kind == "cpu" and devices > (most := PROCESSES_PER_CORE * available_cores()):
        raise ConfigError(
            f"trainer.devices={devices}: this machine has {counted(available_cores(), 'core')}; accepted: up to {most}"
        )
    return Placement(kind, devices, nodes)


def _gpus(available: dict[str, int | None]) -> str:
    count = available["cuda"] or available["mps"] or 0
    return f"this machine has {count or 'no'} GPU{'' if count == 1 else 's'}"


def check_precision(precision: dict[str, Any], placement: Placement) -> None:
    """Refuse number formats that the device does not have."""
    import torch

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


def trainer_arguments(placement: Placement, precision: Precision, strategy: str = "auto") -> dict[str, Any]:
    """What every Trainer of ours is told: where it computes, and to leave the talking and the sampling to us."""
    return {
        "accelerator": placement.accelerator,
        "devices": placement.devices,
        "strategy": "ddp" if placement.ranks > 1 and strategy == "auto" else strategy,
        "precision": precision.mode,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "use_distributed_sampler": False,
    }


def cluster_environment(ranks: int) -> "ClusterEnvironment":
    """Who started this process: named, never guessed from variables that something else may have left behind.

    A run alone has forgotten them all; what there is of them in one of several ranks is meant for it. Raises RunError
    for a rank that was told nothing.
    """
    from lightning.pytorch.plugins.environments import LightningEnvironment, SLURMEnvironment, TorchElasticEnvironment

    if "TORCHELASTIC_RUN_ID" in os.environ or (ranks > 1 and os.environ.keys() >= RANK_VARIABLES):
        return TorchElasticEnvironment()  # it reads these variables, whoever has set them
    if ranks > 1 and "SLURM_PROCID" not in os.environ:
        raise RunError(
            f"one of {ranks} ranks, but which? set {', '.join(sorted(RANK_VARIABLES))}, or start it by torchrun or srun"
        )
    return SLURMEnvironment() if ranks > 1 else LightningEnvironment()


def first_rank() -> bool:
    """Whether this process is rank 0 by what torchrun or srun say."""
    return os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0")) == "0"
