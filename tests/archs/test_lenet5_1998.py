"""LeNet-5 of 1998: the layers and connections of the paper, its sparse table, its bitmaps, its parts."""

from collections import Counter

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d
from torch.utils.flop_counter import FlopCounterMode

from convarium.archs.lenet5_1998 import C3_INPUTS, LeNet5Of1998, draw_bitmaps
from convarium.layers import Parts
from convarium.layers.activation import ScaledTanh
from convarium.layers.norm import batch
from convarium.layers.pooling import Subsampling, max_pool

# layer, output shape, parameters, connections: section II.B
LAYERS = [
    ("c1", (6, 28, 28), 156, 122_304),
    ("s2", (6, 14, 14), 12, 5_880),
    ("c3", (16, 10, 10), 1_516, 151_600),
    ("s4", (16, 5, 5), 32, 2_000),
    ("c5", (120, 1, 1), 48_120, 48_120),
    ("output", (10,), 10_164, 10_164),  # F6; the distances from the bitmaps have nothing to train
]


@pytest.mark.parametrize(("layer", "shape", "parameters", "connections"), LAYERS)
def test_a_layer_is_the_papers(layer: str, shape: tuple[int, ...], parameters: int, connections: int) -> None:
    net = LeNet5Of1998()
    module = net.get_submodule(layer)
    shapes: list[tuple[int, ...]] = []
    module.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[1:])))
    net(torch.zeros(1, 1, 32, 32))
    assert shapes == [shape]
    assert sum(parameter.numel() for parameter in module.parameters()) == parameters
    positions = shape[1] * shape[2] if len(shape) == 3 else 1
    inputs_and_bias = (4 + 1) * shape[0] if layer in ("s2", "s4") else parameters  # of all maps, at one position
    assert inputs_and_bias * positions == connections


def test_all_together_it_has_60000_parameters_and_340908_connections() -> None:
    net = LeNet5Of1998()
    assert sum(parameter.numel() for parameter in net.parameters()) == 60_000
    assert sum(connections for *_, connections in LAYERS) + net.output.bitmaps.numel() == 340_908


def test_each_layer_multiplies_as_often_as_the_paper_connects() -> None:
    with torch.device("meta"):
        net = LeNet5Of1998()
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 1, 32, 32))
    counts = counter.get_flop_counts()
    multiply_adds = {
        layer: sum(counts[f"LeNet5Of1998.{layer}"].values()) // 2 for layer in ("c1", "c3", "c5", "output")
    }
    assert multiply_adds == {"c1": 117_600, "c3": 150_000, "c5": 48_000, "output": 10_080}


def test_each_map_of_s2_feeds_ten_of_c3() -> None:
    assert [len(row) for row in C3_INPUTS] == [3] * 6 + [4] * 9 + [6]
    assert len(set(C3_INPUTS)) == 16
    assert Counter(channel for row in C3_INPUTS for channel in row) == dict.fromkeys(range(6), 10)


def test_c3_is_a_dense_convolution_with_holes() -> None:
    net = LeNet5Of1998().double()
    convs = [branch.conv for branch in net.c3.branches]
    kernels = iter([kernel for conv in convs for kernel in conv.weight])
    dense = torch.zeros(16, 6, 5, 5, dtype=torch.float64)
    for map_number, row in enumerate(C3_INPUTS):
        dense[map_number, list(row)] = next(kernels)
    x = torch.randn(2, 6, 14, 14, dtype=torch.float64)
    expected = ScaledTanh()(conv2d(x, dense, torch.cat([conv.bias for conv in convs])))
    torch.testing.assert_close(net.c3(x), expected, rtol=1e-9, atol=1e-12)


def test_subsampling_is_squashed_as_the_paper_says() -> None:
    net = LeNet5Of1998()
    sums = torch.randn(1, 6, 2, 2)
    windows = sums.sum((2, 3)) * net.s2[0].weight + net.s2[0].bias
    torch.testing.assert_close(net.s2(sums).flatten(1), 1.7159 * torch.tanh(2 / 3 * windows))


def test_a_logit_is_minus_the_squared_distance_from_a_bitmap() -> None:
    net = LeNet5Of1998().eval()
    maps = torch.randn(3, 120)
    code = net.output.code(maps)
    assert code.shape == (3, 84)
    for digit in range(10):
        expected = -torch.tensor(
            [sum((x - w) ** 2 for x, w in zip(row, draw_bitmaps(10)[digit], strict=True)) for row in code.tolist()]
        )
        torch.testing.assert_close(net.output(maps)[:, digit], expected)


def test_the_code_that_equals_a_bitmap_has_no_distance_from_it_and_is_that_class() -> None:
    net = LeNet5Of1998(parts=Parts(activation=nn.Identity))
    with torch.no_grad():
        net.output.weight.zero_()
        net.output.bias.copy_(net.output.bitmaps[4])
    logits = net(torch.zeros(1, 1, 32, 32))
    assert logits.argmax(1).tolist() == [4]
    assert logits[0, 4].item() == 0


def test_the_bitmaps_differ_in_ten_pixels_at_least() -> None:
    bitmaps = torch.tensor(draw_bitmaps(10))
    assert bitmaps.shape == (10, 84)
    assert set(bitmaps.unique().tolist()) == {-1.0, 1.0}
    differences = (bitmaps[:, None] != bitmaps).sum(2) + 84 * torch.eye(10, dtype=torch.int)
    assert differences.min().item() == 10


def test_more_classes_keep_the_digits_and_get_random_bitmaps_always_the_same() -> None:
    bitmaps = torch.tensor(draw_bitmaps(1000))
    assert bitmaps[:10].tolist() == draw_bitmaps(10)
    assert bitmaps[:200].tolist() == draw_bitmaps(200)
    differences = (bitmaps[:, None] != bitmaps).sum(2) + 84 * torch.eye(1000, dtype=torch.int)
    assert differences.min().item() >= 10
    assert LeNet5Of1998(num_classes=100)(torch.zeros(2, 1, 32, 32)).shape == (2, 100)


def test_one_logit_is_by_how_much_a_code_is_nearer_to_one_than_to_zero() -> None:
    torch.manual_seed(0)
    one = LeNet5Of1998(num_classes=1).eval()
    two = LeNet5Of1998(num_classes=2).eval()
    two.load_state_dict(one.state_dict())
    images = torch.randn(4, 1, 32, 32)
    logits = two(images)
    torch.testing.assert_close(one(images)[:, 0], logits[:, 1] - logits[:, 0])


def test_weights_begin_within_the_papers_bounds_and_fill_them() -> None:
    net = LeNet5Of1998()
    fan_ins = {
        "c1.conv": 25,
        "s2.0": 4,
        "c3.branches.0.conv": 75,
        "c3.branches.1.conv": 100,
        "c3.branches.2.conv": 150,
        "s4.0": 4,
        "c5.conv": 400,
        "output": 120,
    }
    for name, fan_in in fan_ins.items():
        weight = net.get_submodule(name).weight
        assert isinstance(weight, torch.Tensor)
        assert weight.abs().max() <= 2.4 / fan_in
        assert weight.abs().max() > 0.5 * 2.4 / fan_in


def test_every_part_can_be_replaced() -> None:
    net = LeNet5Of1998(parts=Parts(norm=batch, activation=nn.ReLU, pool=max_pool, dropout=0.5))
    kinds = Counter(type(module) for module in net.modules())
    assert kinds[nn.ReLU] == 8  # C3's three branches have one each
    assert kinds[nn.MaxPool2d] == 2
    assert kinds[nn.BatchNorm2d] == 5
    assert kinds[Subsampling] == kinds[ScaledTanh] == 0
    assert net.output.dropout.p == 0.5
    assert net(torch.randn(2, 1, 32, 32)).shape == (2, 10)
