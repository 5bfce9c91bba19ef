"""Parts: what is chosen wins, the rest is the paper's."""

import pytest
from torch import nn

from convarium.layers import Layers, Parts
from convarium.layers.init import he, xavier
from convarium.layers.norm import batch, none
from convarium.layers.pooling import average_pool, max_pool

PAPER = Layers(norm=none, activation=nn.ReLU, pool=max_pool, init=xavier, dropout=0.5)


def test_nothing_chosen_is_the_paper() -> None:
    assert Parts().over(PAPER) == PAPER


def test_every_choice_replaces_the_papers() -> None:
    chosen = Parts(norm=batch, activation=nn.ELU, pool=average_pool, init=he, dropout=0.1)
    assert chosen.over(PAPER) == (batch, nn.ELU, average_pool, he, 0.1)


def test_a_dropout_of_zero_is_a_choice() -> None:
    assert Parts(dropout=0.0).over(PAPER).dropout == 0.0


def test_a_part_without_a_place_is_refused_by_name() -> None:
    Parts(norm=batch).refuse("pool", why="there is none")
    with pytest.raises(ValueError, match="pool: there is none; accepted: pool=paper"):
        Parts(pool=average_pool).refuse("norm", "pool", why="there is none")


@pytest.mark.parametrize(("kernel_size", "padding"), [(3, (1, 1)), (1, (0, 0)), ((1, 7), (0, 3))])
def test_a_convolution_is_padded_by_half_its_window(
    kernel_size: int | tuple[int, int], padding: tuple[int, int]
) -> None:
    assert PAPER.conv(3, 8, kernel_size).conv.padding == padding
    assert PAPER.conv(3, 8, kernel_size, padding=2).conv.padding == (2, 2)
