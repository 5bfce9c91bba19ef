"""Why a network answers as it does: Grad-CAM, occlusion, the gradient of the input, and the least that changes it.

Networks come in evaluating, images (N, C, H, W) as they take them, classes as (N,) numbers. Gradients are taken beside
the network: those of its parameters stay as they are.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from convarium.anatomy.feature_maps import Scored, captured


def scores(logits: Tensor) -> Tensor:
    """A score for each class, (N, classes): the logits; of one logit, half of it for and half against, which gives the
    same probabilities and a gradient to both classes."""
    return logits if logits.shape[1] > 1 else torch.cat((-logits, logits), 1) / 2


def _of_classes(logits: Tensor, classes: Tensor) -> Tensor:
    return scores(logits).gather(1, classes[:, None]).squeeze(1)


def grad_cam(net: nn.Module, images: Tensor, layer: str, classes: Tensor) -> Tensor:
    """Where a layer sees what speaks for each image's class: (N, h, w), as large as its maps, nothing below zero.

    The maps, each weighted by the mean gradient of the class's score in it, added and rectified (Selvaraju et al.
    2017, arXiv 1610.02391, equations 1 and 2). Raises ValueError for a layer that the logits do not depend on.
    """
    with torch.enable_grad(), captured(net, [layer]) as found:
        score = _of_classes(net(images.detach().clone().requires_grad_()), classes).sum()
        (gradient,) = torch.autograd.grad(score, found[layer], allow_unused=True)
    if gradient is None:
        raise ValueError(f"layer={layer}: the logits do not depend on it")
    maps: Tensor = found[layer].detach()
    return (gradient.mean((2, 3), keepdim=True) * maps).sum(1).relu()


def saliency(net: nn.Module, images: Tensor, classes: Tensor) -> Tensor:
    """How much each pixel would move its class's score: (N, H, W), the largest absolute gradient of its channels
    (Simonyan, Vedaldi, Zisserman 2014, arXiv 1312.6034, section 3.1)."""
    with torch.enable_grad():
        images = images.detach().clone().requires_grad_()
        (gradient,) = torch.autograd.grad(_of_classes(net(images), classes).sum(), images)
    return gradient.abs().amax(1)


def corners(height: int, width: int, patch: int, stride: int) -> list[tuple[int, int]]:
    """Where patches begin, row and column, so that all of a picture is covered; the last may hang over its edges."""
    down, across = (range(0, max(0, size - patch) + stride, stride) for size in (height, width))
    return [(y, x) for y in down for x in across]


class Occlusion(NamedTuple):
    """How a score falls where a part of the image is hidden."""

    falls: Tensor  # (H, W): for each pixel the mean over the patches that hide it
    lowest: float  # score
    at: tuple[int, int]
    """Where the patch of the lowest score begins: row, column."""


def occlusion(
    score: Callable[[Tensor], Tensor],
    image: Tensor,
    *,
    patch: int,
    stride: int,
    fill: float = 0.0,
    batch: int = 32,
    advance: Callable[[int], object] = lambda passed: None,
) -> Occlusion:
    """By how much the score falls where a patch hides the image (Zeiler & Fergus 2014, arXiv 1311.2901, section 4.2).

    score: images (N, C, H, W) to (N,). image: (C, H, W). patch, stride: pixels. fill: what a patch is, 0 the mean of
    the data. batch: images at a time; `advance` is called with how many have passed.
    """
    _, height, width = image.shape
    all_corners = corners(height, width, patch, stride)
    total, count = torch.zeros(2, height, width, dtype=torch.float64)
    with torch.inference_mode():
        whole, lowest = float(score(image[None])), (math.inf, (0, 0))
        for first in range(0, len(all_corners), batch):
            some = all_corners[first : first + batch]
            hidden = image.repeat(len(some), 1, 1, 1)
            for one, (y, x) in zip(hidden, some, strict=True):
                one[:, y : y + patch, x : x + patch] = fill
            for value, (y, x) in zip(score(hidden).tolist(), some, strict=True):
                total[y : y + patch, x : x + patch] += whole - value
                count[y : y + patch, x : x + patch] += 1
                lowest = min(lowest, (value, (y, x)))
            advance(len(some))
    return Occlusion(total / count, *lowest)


RIVALS, STEPS, OVERSHOOT, HALVINGS = 10, 20, 1.02, 10


def nudge(logits: Scored, pixels: Tensor) -> Tensor | None:
    """Nearly the least change of an image, (1, C, H, W) in 0..1, that changes the answer; None if none was found.

    DeepFool in the maximum norm (Moosavi-Dezfooli et al. 2016, arXiv 1511.04599, section 3.3): every pixel moves by
    the same step towards the nearest class as the gradients have it, again until the answer is another one; then the
    way from the image is halved for the first point where it is. In a linear network that is the least there is; else
    there may be a lesser one. The first step is that of the fast gradient sign method (Goodfellow et al. 2015).

    logits: of pixels in 0..1. Ten classes are tried, those that the network holds most probable, as its authors do.
    """
    first = scores(logits(pixels).detach())[0]
    if not first.isfinite().all():  # a network that has diverged
        return None
    own = int(first.argmax())
    rivals = [rival for rival in first.topk(min(RIVALS, len(first))).indices.tolist() if rival != own]
    changed = pixels
    for _ in range(STEPS):
        with torch.enable_grad():
            x = changed.detach().clone().requires_grad_()
            score = scores(logits(x))[0]
            if int(score.argmax()) != own:
                break
            leads = [score[own] - score[rival] for rival in rivals]
            gradients = [torch.autograd.grad(lead, x, retain_graph=True)[0] for lead in leads]
        steps = [-gradient * _can_move(x, -gradient) for gradient in gradients]
        ways = [
            float(lead.detach()) / max(float(step.abs().sum()), 1e-30) for lead, step in zip(leads, steps, strict=True)
        ]
        nearest = min(range(len(ways)), key=ways.__getitem__)
        changed = (x + OVERSHOOT * ways[nearest] * steps[nearest].sign()).detach().clamp(0, 1)
    else:
        return None
    before, after = 0.0, 1.0
    with torch.no_grad():
        for _ in range(HALVINGS):
            middle = (before + after) / 2
            same = int(scores(logits(torch.lerp(pixels, changed, middle)))[0].argmax()) == own
            before, after = (middle, after) if same else (before, middle)
    return torch.lerp(pixels, changed, after)


def _can_move(pixels: Tensor, way: Tensor) -> Tensor:
    """Which pixels are not at the end of 0..1 that they are to move towards."""
    return ((pixels > 0) | (way > 0)) & ((pixels < 1) | (way < 0))
