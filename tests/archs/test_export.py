"""Every architecture leaves PyTorch's interpreter unchanged: as ONNX, by torch.export, and compiled."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from archs.catalog import EACH, NAMES
from archs.networks import images, make
from convarium.run.export import write_onnx


def assert_same_logits(name: str, net: nn.Module, other: Callable[[Tensor], Tensor], atol: float = 1e-5) -> None:
    """For batches of one and of three; `atol` is relative to the largest logit."""
    with torch.no_grad():
        for count in (1, 3):
            inputs = images(name, count)
            expected = net(inputs)
            torch.testing.assert_close(other(inputs), expected, rtol=0, atol=atol * float(expected.abs().max()))


@pytest.fixture(autouse=True)
def nothing_compiled_before() -> None:
    torch._dynamo.reset()


@pytest.mark.parametrize("name", EACH)
def test_onnxruntime_computes_the_same_logits(name: str, own_directory: Path) -> None:
    net = make(name).eval()
    exported = write_onnx(net, images(name, 2), own_directory / "net.onnx", {})
    assert exported is not None
    assert_same_logits(name, net, exported, atol=1e-4)


@pytest.mark.parametrize("name", EACH)
def test_torch_export_takes_all_of_it_as_one_graph_for_any_batch(name: str) -> None:
    net = make(name).eval()
    batch = torch.export.Dim("batch")
    exported = torch.export.export(net, (images(name, 2),), dynamic_shapes=({0: batch},), strict=True)
    assert_same_logits(name, net, exported.module())


@pytest.mark.parametrize("name", EACH)
def test_it_is_traced_as_one_graph_and_computes_the_same_logits(name: str) -> None:
    net = make(name).eval()
    assert_same_logits(name, net, torch.compile(net, fullgraph=True, backend="aot_eager"))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_compiled_by_inductor_it_computes_the_same_logits(name: str) -> None:
    net = make(name).eval()
    assert_same_logits(name, net, torch.compile(net, fullgraph=True), atol=1e-4)
