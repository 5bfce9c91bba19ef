"""The arithmetic of windows, and when an image counts as small."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from convarium.sizes import output_size, takes_small_stem


@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "padding", "expected"),
    [(28, 5, 1, 0, 24), (224, 7, 2, 3, 112), (227, 11, 4, 0, 55), (224, 11, 4, 0, 54), (14, 5, 3, 0, 4)],
)
def test_worked_examples(size: int, kernel_size: int, stride: int, padding: int, expected: int) -> None:
    assert output_size(size, kernel_size, stride, padding) == expected


def test_a_third_pooling_of_28_leaves_3_or_with_ceil_4() -> None:
    assert output_size(7, 2, 2) == 3
    assert output_size(7, 2, 2, ceil_mode=True) == 4


@settings(deadline=None)  # the first call of torch takes its time
@given(
    size=st.integers(1, 40),
    kernel_size=st.integers(1, 9),
    stride=st.integers(1, 5),
    padding_share=st.floats(0, 1),
    ceil_mode=st.booleans(),
)
def test_the_size_is_torchs(size: int, kernel_size: int, stride: int, padding_share: float, ceil_mode: bool) -> None:
    padding = int(padding_share * (kernel_size // 2))
    expected = output_size(size, kernel_size, stride, padding, ceil_mode=ceil_mode)
    pool = nn.MaxPool2d(kernel_size, stride, padding, ceil_mode=ceil_mode)
    image = torch.empty(1, 1, size, size, device="meta")
    if expected >= 1:
        assert pool(image).shape[2:] == (expected, expected)
    else:
        with pytest.raises(RuntimeError, match="too small"):
            pool(image)


@pytest.mark.parametrize(
    ("stem", "image_size", "small"),
    [("auto", 64, True), ("auto", 65, False), ("small", 224, True), ("paper", 32, False)],
)
def test_auto_takes_the_small_stem_up_to_64_pixels(stem: str, image_size: int, small: bool) -> None:
    assert takes_small_stem(stem, image_size) is small
