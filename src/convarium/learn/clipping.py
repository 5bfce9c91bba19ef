"""Gradient clipping as functions of (name, parameter) pairs: in place on `.grad`, without a device synchronization.

To be called once per optimizer step, on unscaled gradients, with the pairs in the order of `net.named_parameters()`.
Parameters without a gradient are passed over.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from convarium.learn.decay import classifier_names

Named = Sequence[tuple[str, nn.Parameter]]


class ClipStats(NamedTuple):
    """Two numbers on the device: the norm of all gradients before clipping, and the share clipped, 0 to 1."""

    norm: Tensor
    clipped: Tensor


def clip_by_norm(named: Named, *, max_norm: float) -> ClipStats:
    """Scale all gradients down to a common norm of `max_norm` (Pascanu et al. 2013); the share is 1 if it had to."""
    gradients = _gradients(named)
    norm = _total_norm(gradients)
    if gradients:
        torch._foreach_mul_(gradients, (max_norm / (norm + 1e-6)).clamp(max=1.0))
    return ClipStats(norm, (norm > max_norm).to(norm.dtype))


def clip_by_value(named: Named, *, max_value: float) -> ClipStats:
    """Cut each entry of the gradients to [-max_value, max_value]; the share is that of entries beyond it."""
    gradients = _gradients(named)
    norm = _total_norm(gradients)
    if not gradients:
        return ClipStats(norm, norm)
    beyond = torch._foreach_abs(gradients)
    torch._foreach_sub_(beyond, max_value)
    torch._foreach_clamp_min_(beyond, 0.0)
    torch._foreach_sign_(beyond)
    count = torch.stack([entry.float() for entry in torch._foreach_norm(beyond, 1)]).sum()
    torch._foreach_clamp_min_(gradients, -max_value)
    torch._foreach_clamp_max_(gradients, max_value)
    return ClipStats(norm, count / sum(gradient.numel() for gradient in gradients))


def clip_adaptive(named: Named, *, factor: float, eps: float = 1e-3) -> ClipStats:
    """Adaptive gradient clipping (Brock et al. 2021, arXiv 2102.06171, section 4), unit by unit.

    The gradient of a unit (one output row of a weight; a whole vector) is scaled down to `factor` times the norm of
    the unit's weights, which counts as at least `eps`. The classifier, the module that owns the last parameter, is
    left alone, as in the paper. The share is that of units scaled.
    """
    norm = _total_norm(_gradients(named))
    classifier = classifier_names([name for name, _ in named])
    weights = [weight for name, weight in named if weight.grad is not None and name not in classifier]
    gradients = [weight.grad for weight in weights if weight.grad is not None]
    if not gradients:
        return ClipStats(norm, torch.zeros_like(norm))
    weight_norms = [_unit_norms(weight.detach()) for weight in weights]
    gradient_norms = torch.cat([_unit_norms(gradient) for gradient in gradients])
    allowed = torch.cat(weight_norms).clamp(min=eps) * factor
    scale = (allowed / gradient_norms.clamp(min=1e-6)).clamp(max=1.0)
    chunks = torch.split(scale, [len(norms) for norms in weight_norms])
    shapes = [[-1] + [1] * (tensor.ndim - 1) if tensor.ndim > 1 else [1] * tensor.ndim for tensor in gradients]
    torch._foreach_mul_(gradients, [chunk.view(shape) for chunk, shape in zip(chunks, shapes, strict=True)])
    return ClipStats(norm, (gradient_norms > allowed).float().mean())


def _gradients(named: Named) -> list[Tensor]:
    return [parameter.grad for _, parameter in named if parameter.grad is not None]


def _total_norm(gradients: list[Tensor]) -> Tensor:
    if not gradients:
        return torch.zeros(())
    norm: Tensor = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients)))
    return norm


def _unit_norms(tensor: Tensor) -> Tensor:
    rows = tensor.reshape(1, -1) if tensor.ndim <= 1 else tensor.flatten(1)
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1)
    return norms
