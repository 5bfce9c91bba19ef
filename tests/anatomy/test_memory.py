"""The memory of a training step, against what torch's allocators say."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.profiler import ProfilerActivity, profile

from archs.catalog import asked
from archs.networks import make
from convarium.anatomy.memory import training_memory
from convarium.layers import Outputs

CASES = {
    "lenet5": (64, 32),
    "resnet20": (8, 32),
    "vgg11": (32, 32),
    "inception_v1": (8, 64),
    "efficientnet_b0": (8, 64),
}
TOLERANCE = 0.1  # of the peak: kernels' own working memory, which is not predicted, is 7 % of LeNet-5's


def criterion(outputs: Tensor | Outputs, targets: Tensor) -> Tensor:
    if isinstance(outputs, Outputs):
        return cross_entropy(outputs.logits, targets) + 0.3 * sum(cross_entropy(aux, targets) for aux in outputs.aux)
    return cross_entropy(outputs, targets)


def adamw(net: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.AdamW(net.parameters(), fused=True)


def train(net: nn.Module, images: Tensor, targets: Tensor, half: torch.dtype | None, steps: int = 2) -> None:
    """Steps as Lightning makes them: a step's gradients stay until the next one's loss is known."""
    optimizer = adamw(net)
    for _ in range(steps):
        with torch.autocast(images.device.type, dtype=half or torch.bfloat16, enabled=half is not None):
            loss = criterion(net(images), targets)
        optimizer.zero_grad()
        loss.backward()
        del loss
        optimizer.step()


def predicted(name: str, half: torch.dtype | None) -> int:
    batch, size = CASES[name]
    build = partial(make, name, channels=3, image_size=size)
    return training_memory(build, (batch, 3, size, size), criterion, adamw, half).peak


@pytest.mark.parametrize("half", [None, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("name", asked(CASES, {"lenet5", "resnet20"}))
def test_the_predicted_peak_is_that_of_torchs_profiler(name: str, half: torch.dtype | None) -> None:
    if half is not None and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        pytest.skip("this CPU has no bfloat16: its kernels work in float32, in memory of their own")
    batch, size = CASES[name]
    net = make(name, channels=3, image_size=size).train()
    images, targets = torch.randn(batch, 3, size, size), torch.zeros(batch, dtype=torch.long)
    there = sum(t.untyped_storage().nbytes() for t in (*net.parameters(), *net.buffers(), images, targets))
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        train(net, images, targets, half)
    now = peak = 0
    for event in profiler.profiler.kineto_results.events():  # type: ignore[union-attr]
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
    assert predicted(name, half) == pytest.approx(there + peak, rel=TOLERANCE)


@pytest.mark.gpu
@pytest.mark.parametrize("half", [None, torch.bfloat16, torch.float16], ids=["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("name", list(CASES))
def test_the_predicted_peak_is_that_of_a_gpu(name: str, half: torch.dtype | None) -> None:
    batch, size = CASES[name]
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    net = make(name, channels=3, image_size=size).cuda().train()
    images = torch.randn(batch, 3, size, size, device="cuda")
    train(net, images, torch.zeros(batch, dtype=torch.long, device="cuda"), half)
    # kernels of cuDNN and cuBLAS take working memory besides, up to some tens of MB
    measured = torch.cuda.max_memory_allocated() - before
    assert 0.9 * predicted(name, half) <= measured <= 1.2 * predicted(name, half) + 64e6


def test_the_parts_of_the_memory_are_those_of_the_step() -> None:
    memory = training_memory(partial(make, "lenet5"), (16, 1, 32, 32), criterion, adamw)
    numbers = sum(value.numel() for value in make("lenet5").parameters())
    assert (memory.weights, memory.gradients) == (4 * numbers, 4 * numbers)
    assert memory.optimizer == 2 * 4 * numbers + 4 * len(list(make("lenet5").parameters()))  # two means, and a count
    assert memory.batch == 16 * (32 * 32 * 4 + 8)
    assert memory.peak == sum(memory[:-1])
    twice = training_memory(partial(make, "lenet5"), (32, 1, 32, 32), criterion, adamw)
    assert twice.activations == pytest.approx(2 * memory.activations, rel=0.01)
    sgd = training_memory(
        partial(make, "lenet5"), (16, 1, 32, 32), criterion, lambda net: torch.optim.SGD(net.parameters())
    )
    assert sgd.optimizer == 0
