"""How noisy the gradient of a step is: the gradient noise scale of McCandlish et al. 2018, arXiv 1812.06162."""

from collections import deque
from math import nan
from typing import Any, NamedTuple

import lightning.pytorch as L
import torch
from torch import Tensor

from convarium.batch import Batch


class Noise(NamedTuple):
    """Of the gradients of single images."""

    variance: float
    """The trace of their covariance."""
    signal: float
    """The squared norm of their mean, without what the noise adds to it; can be negative where it is lost in noise."""

    @property
    def snr(self) -> float:
        """The signal by the variance: how much of one image's gradient is signal. Unlike its inverse it is a number
        also where none is left."""
        return self.signal / self.variance if self.variance else nan

    @property
    def scale(self) -> float:
        """Images in a batch whose gradient has as much noise as signal (section 2.2); nan where there is no signal."""
        return self.variance / self.signal if self.signal > 0 else nan


class GradientNoise(L.Callback):
    """Log at the end of every epoch `gradient_noise/variance`, `/signal`, `/snr` and `/scale`, as `Noise` has them, of
    the last `images` that were trained on, with the weights as they are then.

    A batch far below the scale wastes no image, a batch far above it wastes most. Each image is passed forward and
    back by itself, in float32, through the network as in validation: a norm of batches by its running averages,
    dropout and auxiliary classifiers left out. So nothing is drawn and no state changes. It costs `images` passes of
    one image an epoch, and these images and two copies of the gradients on the device. With several ranks rank 0
    measures, of its own images. A run that goes on in the middle of an epoch has fewer images in that one.
    """

    def __init__(self, *, images: int = 256) -> None:
        self.images = images
        self._seen: deque[Batch] = deque()
        self._number = 0  # of images in them

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Batch, batch_idx: int) -> None:
        if not trainer.is_global_zero:
            return
        self._seen.append(batch)
        self._number += len(batch.targets)
        while self._number - len(self._seen[0].targets) >= self.images:
            self._number -= len(self._seen.popleft().targets)

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        if self._number < 2 or not trainer.is_global_zero:
            return
        singles = [one for batch in self._seen for one in _single(batch)][-self.images :]
        noise = measure(pl_module, singles)
        found = {**noise._asdict(), "snr": noise.snr, "scale": noise.scale}
        pl_module.log_row({f"gradient_noise/{name}": value for name, value in found.items()})


def measure(learner: Any, images: list[Batch]) -> Noise:
    """The noise of the gradients of batches of one image, two or more, with unbiased estimates (appendix A.1)."""
    net, number = learner.net, len(images)
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    total = [torch.zeros_like(parameter) for parameter in parameters]
    squares = total[0].new_zeros(())
    training = {module: module.training for module in net.modules()}
    net.eval()
    try:
        for image in images:
            with torch.enable_grad():
                loss = learner.losses(net.forward(image.images), image).sum()  # not compiled anew for one image
                gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
            squares += _square(gradients)
            torch._foreach_add_(total, gradients)
    finally:
        for module, was in training.items():
            module.training = was
    of_mean = _square(total) / number**2
    variance = (squares - number * of_mean) / (number - 1)
    return Noise(float(variance), float(of_mean - variance / number))


def _single(batch: Batch) -> list[Batch]:
    """A batch of its own for each image."""
    return [
        batch._replace(
            images=batch.images[at],
            targets=batch.targets[at],
            mix=batch.mix and (batch.mix[0][at], batch.mix[1][at]),
        )
        for at in (slice(k, k + 1) for k in range(len(batch.targets)))
    ]


def _square(tensors: Any) -> Tensor:
    """The squared norm of all of them together."""
    return torch.stack(torch._foreach_norm(tensors)).square().sum()
