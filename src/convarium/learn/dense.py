"""A network for images of one size applied to larger pictures, at all positions at once."""

from math import isqrt
from typing import Any

import torch
from torch import Tensor, nn


def dense_logits(net: nn.Module, pictures: Tensor) -> Tensor:
    """The class scores of pictures at least as large as the images of `net`, averaged over the positions of an image in
    them; (N, C, H, W) -> (N, classes).

    As Sermanet et al. 2013 (arXiv:1312.6229, section 3.5) and Simonyan and Zisserman 2014 (arXiv:1409.1556, section
    3.2): the first linear layer becomes a convolution with a kernel of the size of the maps it was made for, those
    after it convolutions of 1x1. Here that linear layer is given each such window of the larger maps as one more row,
    which is the same; the network itself is not changed. One that averages its maps as a whole before the first linear
    layer needs none of this, it averages over larger maps.

    Raises ValueError for a network that has no maps, only units.
    """
    windows = _Windows()
    hooks = [layer.register_forward_hook(windows.note_maps) for layer in net.modules()]
    hooks += [layer.register_forward_pre_hook(windows.slide) for layer in net.modules() if isinstance(layer, nn.Linear)]
    try:
        logits: Tensor = net(pictures)
    finally:
        for hook in hooks:
            hook.remove()
    return logits.view(len(pictures), -1, logits.shape[1]).mean(1)


class _Windows:
    """Cuts the flattened maps that are too large for a linear layer into windows of the size it was made for."""

    def __init__(self) -> None:
        self._maps: torch.Size | None = None

    def note_maps(self, layer: nn.Module, inputs: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.ndim == 4:
            self._maps = output.shape[1:]

    def slide(self, layer: nn.Linear, inputs: tuple[Tensor]) -> Tensor | None:
        """(N, C*H*W) -> (N*P, C*side*side), the P windows of an image one after another."""
        units = inputs[0]
        if units.ndim != 2 or units.shape[1] == layer.in_features:
            return None
        if self._maps is None or self._maps.numel() != units.shape[1]:
            raise ValueError("has no maps over which its linear layers could slide")
        channels = self._maps[0]
        side = isqrt(layer.in_features // channels)
        if channels * side**2 != layer.in_features:
            raise ValueError(f"its first linear layer is not made for {channels} square maps")
        maps = units.view(-1, *self._maps)
        windows: Tensor = maps.unfold(2, side, 1).unfold(3, side, 1)  # (N, C, H - side + 1, W - side + 1, side, side)
        return windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, layer.in_features)
