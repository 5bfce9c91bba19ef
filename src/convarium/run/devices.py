"""Where a run computes, and what the checks before it found out. No torch here."""

from typing import NamedTuple


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
