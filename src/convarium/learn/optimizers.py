"""Optimizers that torch lacks, and the one function that gives a network its optimizer."""

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.optim import Optimizer
from torch.optim.adamw import adamw

from convarium.learn.decay import Decay, classifier_names, parameter_groups, roles

OptimizerFactory = functools.partial[Optimizer]
"""An optimizer class with its hyper-parameters, waiting for parameter groups."""
Params = Iterable[Tensor] | Iterable[dict[str, Any]]
Closure = Callable[[], float]


def build_optimizer(factory: OptimizerFactory, net: nn.Module, decay: Decay = "weights") -> Optimizer:
    """The optimizer of `net`: `factory`'s `weight_decay` goes to the parameters that `decay` names, none to the others.

    Every group gets `initial_lr`, so that a schedule sets `group["lr"] = group["initial_lr"] * factor`.
    """
    groups = parameter_groups(net, weight_decay=factory.keywords.get("weight_decay", 0.0), decay=decay)
    if isinstance(factory.func, type) and issubclass(factory.func, Muon):
        groups = muon_groups(groups, net)
    optimizer = factory(groups)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def muon_groups(groups: list[dict[str, Any]], net: nn.Module) -> list[dict[str, Any]]:
    """Split each group by `use_muon`.

    Muon takes the weights of convolutions and linear layers, except those of the first convolution and of the
    classifier (the module that owns the last parameter); AdamW takes these, biases, norms and all else. This is what
    Muon's author advises for convolutional networks; hidden linear layers are added, as in his language models.
    """
    members = roles(net)
    classifier = classifier_names(role.name for role in members)
    first = next((role.name for role in members if isinstance(role.owner, _ConvNd)), None)
    hidden = {
        id(role.parameter) for role in members if role.decays and role.name != first and role.name not in classifier
    }
    split = []
    for group in groups:
        for use_muon in (True, False):
            params = [parameter for parameter in group["params"] if (id(parameter) in hidden) == use_muon]
            if params:
                name = f"{group['name']}, {'muon' if use_muon else 'adamw'}"
                split.append({**group, "name": name, "params": params, "use_muon": use_muon})
    return split


class Batched(Optimizer):
    """What our own optimizers share: a step takes those parameters of a group that have a gradient, all at once."""

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> float | None:  # type: ignore[override]
        """Take one step; `closure`, if given, is called first and its loss returned."""
        with torch.enable_grad():
            loss = closure() if closure else None
        for group in self.param_groups:
            params = [parameter for parameter in group["params"] if parameter.grad is not None]
            if params:
                self._step(group, params)
        return loss

    def _step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        """Change these parameters of a group by their gradients, in place."""
        raise NotImplementedError  # abstract: an optimizer says

    def _kept(self, params: list[Tensor], name: str, start: float = 0.0) -> list[Tensor]:
        """What is kept under a name for each parameter, of its shape; full of `start` at first."""
        for parameter in params:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.full_like(parameter, start)
        return [self.state[parameter][name] for parameter in params]


class Muon(Batched):
    """Momentum, orthogonalized by Newton-Schulz iteration (Jordan et al. 2024, kellerjordan.github.io/posts/muon).

    A convolution's filters (out, in, kh, kw) count as a matrix (out, in * kh * kw); all matrices of one shape are
    orthogonalized as one batch, in bfloat16 on a GPU and in float32 elsewhere. The update is scaled by
    sqrt(max(1, rows / columns)); weight decay is decoupled. Groups with `use_muon` False go by AdamW with `adamw_lr`;
    `muon_groups` makes such groups. ValueError where a `use_muon` group holds a parameter of less than two dimensions.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 0.02,
        *,
        momentum: float = 0.95,
        nesterov: bool = True,
        newton_schulz_steps: int = 5,
        weight_decay: float = 0.01,
        adamw_lr: float = 0.001,
        adamw_betas: tuple[float, float] = (0.9, 0.95),
        adamw_eps: float = 1e-8,
    ) -> None:
        muon = {"momentum": momentum, "nesterov": nesterov, "newton_schulz_steps": newton_schulz_steps}
        by_adamw = {"betas": tuple(adamw_betas), "eps": adamw_eps, "fused": True}
        self._adamw_lr = adamw_lr
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "use_muon": True, **muon, **by_adamw})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; one with `use_muon` False starts from `adamw_lr` unless it has its own `lr`."""
        if not param_group.get("use_muon", True):
            param_group.setdefault("lr", self._adamw_lr)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if group["use_muon"]:
            for parameter in group["params"]:
                if parameter.ndim < 2:
                    raise ValueError(
                        f"Muon takes matrices and filters, not a parameter of shape {tuple(parameter.shape)}"
                    )

    def _step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        if group["use_muon"]:
            self._muon_step(group, params)
        else:
            self._adamw_step(group, params)

    def _muon_step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        gradients = _gradients(params)
        momenta = self._kept(params, "momentum_buffer")
        torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
        updates = torch._foreach_lerp(gradients, momenta, group["momentum"]) if group["nesterov"] else momenta
        if group["weight_decay"]:
            torch._foreach_mul_(params, 1 - group["lr"] * group["weight_decay"])
        batches = defaultdict(list)
        for parameter, update in zip(params, updates, strict=True):
            matrix = update.flatten(1)
            batches[matrix.shape, matrix.device, matrix.dtype].append((parameter, matrix))
        for ((rows, columns), _, _), members in batches.items():
            batch = torch.stack([matrix for _, matrix in members])
            steps = orthogonalize(batch, group["newton_schulz_steps"]).to(batch.dtype).unbind()
            torch._foreach_add_(
                [parameter for parameter, _ in members],
                [step.view(parameter.shape) for step, (parameter, _) in zip(steps, members, strict=True)],
                alpha=-group["lr"] * math.sqrt(max(1, rows / columns)),
            )

    def _adamw_step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        for parameter in params:
            if "step" not in self.state[parameter]:
                self.state[parameter]["step"] = torch.zeros((), device=parameter.device)
        adamw(
            params,
            _gradients(params),
            self._kept(params, "exp_avg"),
            self._kept(params, "exp_avg_sq"),
            [],
            [self.state[parameter]["step"] for parameter in params],
            fused=group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def orthogonalize(matrices: Tensor, steps: int, dtype: torch.dtype | None = None) -> Tensor:
    """Bring the singular values of a batch of matrices (k, rows, columns) near to 1, keeping the singular vectors.

    Jordan's quintic Newton-Schulz iteration, steep at 0: five steps leave the values that were not tiny between about
    0.7 and 1.2. `dtype` None: bfloat16 on a GPU, where it is fast and enough, float32 elsewhere; the result is in it.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    dtype = dtype or (torch.bfloat16 if matrices.is_cuda else torch.float32)
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = (matrices.mT if tall else matrices).to(dtype)
    x = x / torch.linalg.matrix_norm(x, keepdim=True).clamp(min=1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


class Lars(Batched):
    """Momentum with a rate of its own for each weight (You et al. 2017, arXiv 1708.03888, algorithm 1).

    The rate is `lr * trust * |w| / (|g| + weight_decay * |w|)`, and it enters the momentum, as in the paper. Differs:
    vectors (biases, norms) take `lr` itself, as is usual since, and so does a weight that is 0 or has no gradient.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 0.1,
        *,
        momentum: float = 0.9,
        weight_decay: float = 0.0005,
        trust: float = 0.02,
        eps: float = 1e-8,
    ) -> None:
        defaults = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust": trust, "eps": eps}
        super().__init__(params, defaults)

    def _step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        momenta = self._kept(params, "momentum_buffer")
        steps = torch._foreach_add(_gradients(params), params, alpha=group["weight_decay"])
        weights = [parameter for parameter in params if parameter.ndim > 1]
        if weights:
            scaled = [step for step in steps if step.ndim > 1]
            torch._foreach_mul_(scaled, self._rates(group, weights))
        torch._foreach_mul_(steps, group["lr"])
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, steps)
        torch._foreach_sub_(params, momenta)

    def _rates(self, group: dict[str, Any], weights: list[Tensor]) -> tuple[Tensor, ...]:
        weight_norms = torch.stack(torch._foreach_norm(weights))
        gradient_norms = torch.stack(torch._foreach_norm(_gradients(weights)))
        rates = group["trust"] * weight_norms
        rates = rates / (gradient_norms + group["weight_decay"] * weight_norms + group["eps"])
        return torch.where((weight_norms > 0) & (gradient_norms > 0), rates, 1.0).unbind()


class RmspropTf(Batched):
    """RMSProp as TensorFlow defines it (Tieleman & Hinton 2012; `tf.train.RMSPropOptimizer`).

    From torch's it differs in three places, which matter for a large `eps`: the mean square starts at 1 instead of 0,
    `eps` is added inside the root, and the momentum adds up steps that have the learning rate in them:
    `s = alpha s + (1 - alpha) g^2; m = momentum m + lr g / sqrt(s + eps); w = w - m`. Weight decay is an L2 penalty.
    """

    def __init__(
        self,
        params: Params,
        lr: float = 0.045,
        *,
        alpha: float = 0.9,
        momentum: float = 0.9,
        eps: float = 1.0,
        weight_decay: float = 0.0,
    ) -> None:
        defaults = {"lr": lr, "alpha": alpha, "momentum": momentum, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults)

    def _step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        squares, momenta = self._kept(params, "square_avg", start=1.0), self._kept(params, "momentum_buffer")
        gradients = _gradients(params)
        if group["weight_decay"]:
            gradients = list(torch._foreach_add(gradients, params, alpha=group["weight_decay"]))
        torch._foreach_mul_(squares, group["alpha"])
        torch._foreach_addcmul_(squares, gradients, gradients, value=1 - group["alpha"])
        roots = torch._foreach_add(squares, group["eps"])
        torch._foreach_sqrt_(roots)
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_addcdiv_(momenta, gradients, roots, value=group["lr"])
        torch._foreach_sub_(params, momenta)


class VelocitySGD(Batched):
    """Momentum with the rate inside: v = momentum * v - lr * (g + weight_decay * w), w = w + v.

    The rule of Krizhevsky et al. 2012, section 5, and of Caffe. It is torch's SGD at a constant rate; when the rate is
    cut, what has gathered in v goes on at the old one here, and is cut with it there.
    """

    def __init__(
        self, params: Params, lr: float = 0.01, *, momentum: float = 0.9, weight_decay: float = 0.0005
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    def _step(self, group: dict[str, Any], params: list[Tensor]) -> None:
        velocities = self._kept(params, "velocity")
        slopes = torch._foreach_add(_gradients(params), params, alpha=group["weight_decay"])
        torch._foreach_mul_(velocities, group["momentum"])
        torch._foreach_add_(velocities, slopes, alpha=-group["lr"])
        torch._foreach_add_(params, velocities)


def _gradients(params: list[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in params if parameter.grad is not None]
