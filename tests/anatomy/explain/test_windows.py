"""Where windows lie, beside torch's convolutions and poolings."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import pad

Answer = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "padding", "times", "down", "up"),
    [
        (28, 5, 1, 0, 1, [24], [24]),
        (224, 7, 2, 3, 1, [112], [113]),
        (227, 11, 4, 0, 1, [55], [55]),
        (224, 11, 4, 0, 1, [54], [55]),
        (224, 11, 4, 2, 1, [55], [56]),
        (256, 2, 2, 0, 5, [128, 64, 32, 16, 8], [128, 64, 32, 16, 8]),
        (64, 2, 2, 0, 4, [32, 16, 8, 4], [32, 16, 8, 4]),
        (28, 2, 2, 0, 3, [14, 7, 3], [14, 7, 4]),
        (10, 5, 2, 0, 1, [3], [4]),
    ],
)
def test_sizes_of_the_literature(
    answer: Answer, size: int, kernel_size: int, stride: int, padding: int, times: int, down: list[int], up: list[int]
) -> None:
    keys = {"size": size, "kernel_size": kernel_size, "stride": stride, "padding": padding, "times": times}
    found = answer("output_size", **keys)
    assert (found["sizes"], found["sizes_rounded_up"]) == (down, up)
    x = y = torch.empty(1, 1, size, size, device="meta")
    for _ in range(times):
        x = nn.MaxPool2d(kernel_size, stride, padding)(x)
        y = nn.MaxPool2d(kernel_size, stride, padding, ceil_mode=True)(y)
    assert (x.shape[2], y.shape[2]) == (down[-1], up[-1])


def test_alexnets_224_give_54_and_a_quarter(answer: Answer) -> None:
    found = answer("output_size")
    assert (found["exact"], found["output_size"], found["sizes_rounded_up"]) == (54.25, 54, [55])


@settings(deadline=None, max_examples=50)
@given(
    size=st.integers(1, 60),
    kernel_size=st.integers(1, 9),
    stride=st.integers(1, 5),
    padding=st.integers(0, 6),
    dilation=st.integers(1, 3),
)
def test_a_convolution_has_the_size_of_torchs(
    answer: Answer, size: int, kernel_size: int, stride: int, padding: int, dilation: int
) -> None:
    size = max(size, dilation * (kernel_size - 1) + 1 - 2 * padding)
    keys = {"size": size, "kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation}
    layer = nn.Conv2d(1, 1, kernel_size, stride, padding, dilation, device="meta")
    expected = layer(torch.empty(1, 1, size, size, device="meta")).shape[2]
    found = answer("output_size", **keys)
    assert (found["output_size"], found["sizes"]) == (expected, [expected])


@settings(deadline=None, max_examples=30)
@given(size=st.integers(20, 60), kernel_size=st.integers(1, 7), stride=st.integers(1, 4), dilation=st.integers(1, 3))
def test_paddings_give_the_sizes_of_torchs(
    answer: Answer, size: int, kernel_size: int, stride: int, dilation: int
) -> None:
    found = answer("padding", size=size, kernel_size=kernel_size, stride=stride, dilation=dilation)
    image = torch.zeros(1, 1, size, size, device="meta")

    def side(padding: int | str, image: torch.Tensor = image, stride: int = stride) -> int:
        layer = nn.Conv2d(1, 1, kernel_size, stride, padding, dilation, device="meta")
        return int(layer(image).shape[2])

    assert found["valid_size"] == side("valid")
    assert found["full_size"] == side(found["full_padding"])
    if found["same_padding"] == int(found["same_padding"]):
        assert found["same_size"] == side(int(found["same_padding"]))
        assert size == side("same", stride=1)
    zeros = (found["tensorflow_before"], found["tensorflow_after"]) * 2
    assert side(0, pad(image, zeros)) == -(-size // stride)
    assert 0 <= zeros[1] - zeros[0] <= 1


def test_tensorflow_pads_resnets_first_convolution_with_2_and_3_zeros(answer: Answer) -> None:
    found = answer("padding", size=224, kernel_size=7, stride=2)
    assert [found[name] for name in ("tensorflow_before", "tensorflow_after", "same_padding", "same_size")] == [
        2,
        3,
        3,
        112,
    ]


IMAGE = [[29, 15, 28, 184], [0, 100, 70, 38], [12, 12, 7, 2], [12, 12, 45, 6]]


def test_the_worked_example_of_pooling_and_its_36(answer: Answer) -> None:
    found = answer("pooling")
    assert (found["max"], found["average"]) == ([[100, 184], [12, 45]], [[36, 80], [12, 15]])
    assert found["gone_percent"] == 75
    assert answer("pooling", image=[[31, *IMAGE[0][1:]], *IMAGE[1:]])["average"][0][0] == 36.5


@settings(deadline=None, max_examples=20)
@given(data=st.data(), kernel_size=st.integers(1, 4), stride=st.integers(1, 4))
def test_pooling_is_torchs(answer: Answer, data: st.DataObject, kernel_size: int, stride: int) -> None:
    rows, columns = (data.draw(st.integers(kernel_size, 7)) for _ in range(2))
    row = st.lists(st.floats(-100, 100), min_size=columns, max_size=columns)
    image = data.draw(st.lists(row, min_size=rows, max_size=rows))
    found = answer("pooling", image=image, kernel_size=kernel_size, stride=stride)
    x = torch.tensor(image, dtype=torch.float64)[None, None]
    for name, pool in (("max", nn.MaxPool2d(kernel_size, stride)), ("average", nn.AvgPool2d(kernel_size, stride))):
        torch.testing.assert_close(torch.tensor(found[name], dtype=torch.float64), pool(x)[0, 0])
    assert found["gone_percent"] == pytest.approx(100 * (1 - pool(x).numel() / x.numel()))


def test_vgg16_sees_212_pixels(answer: Answer) -> None:
    assert answer("receptive_field") == {"receptive_field": 212, "step": 32}


@pytest.mark.parametrize(
    ("kernels", "strides"), [([3, 3, 3], [1, 1, 1]), ([7, 3, 1, 3], [2, 2, 1, 1]), ([3, 2, 5], [1, 2, 3])]
)
def test_the_receptive_field_is_what_gradients_reach(answer: Answer, kernels: list[int], strides: list[int]) -> None:
    found = answer("receptive_field", kernels=kernels, strides=strides)
    net = nn.Sequential(*(nn.Conv2d(1, 1, *each, bias=False) for each in zip(kernels, strides, strict=True)))
    for layer in net:
        nn.init.ones_(layer.weight)

    def reached(place: int) -> list[int]:
        image = torch.zeros(1, 1, 64, 64, requires_grad=True)
        net(image)[0, 0, 0, place].backward()
        assert image.grad is not None
        return image.grad[0, 0, 0].nonzero().flatten().tolist()

    first, second = reached(0), reached(1)
    assert (len(first), second[0] - first[0]) == (found["receptive_field"], found["step"])
