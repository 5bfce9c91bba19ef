"""Every architecture leaves PyTorch's interpreter unchanged: as ONNX, by torch.export, and compiled."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from archs.catalog import EACH_EXPERIMENT, EACH_TRACED, NAMES
from archs.networks import images, make, settled
from convarium.trained.export import write_onnx


def assert_same_logits(
    name: str, net: nn.Module, other: Callable[[Tensor], Tensor], *, batches: tuple[int, ...] = (1, 3), atol: float
) -> None:
    """For batches of these sizes; `atol` is relative to the largest logit."""
    with torch.no_grad():
        for count in batches:
            inputs = images(name, count)
            expected = net(inputs)
            torch.testing.assert_close(other(inputs), expected, rtol=0, atol=atol * float(expected.abs().max()))


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("name", EACH_TRACED)
def test_onnxruntime_computes_the_same_logits(name: str, own_directory: Path) -> None:
    net = settled(name, make(name))
    exported = write_onnx(net, images(name, 2), own_directory / "net.onnx", {})
    assert exported is not None
    assert_same_logits(name, net, exported, atol=1e-4)


@pytest.mark.parametrize("name", EACH_EXPERIMENT)  # for ONNX the larger ones are exported in the same way
def test_torch_export_takes_all_of_it_as_one_graph_for_any_batch(name: str) -> None:
    net = settled(name, make(name))
    batch = torch.export.Dim("batch")
    exported = torch.export.export(net, (images(name, 2),), dynamic_shapes=({0: batch},), strict=True)
    assert_same_logits(name, net, exported.module(), atol=1e-5)


@pytest.mark.parametrize("name", EACH_EXPERIMENT)
def test_it_is_traced_as_one_graph_and_computes_the_same_logits(name: str) -> None:
    net = settled(name, make(name))
    assert_same_logits(name, net, torch.compile(net, fullgraph=True, backend="aot_eager"), batches=(3,), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_compiled_by_inductor_it_computes_the_same_logits(name: str) -> None:
    net = settled(name, make(name))
    assert_same_logits(name, net, torch.compile(net, fullgraph=True), batches=(3,), atol=1e-4)
