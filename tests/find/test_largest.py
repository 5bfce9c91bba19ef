"""The search for the largest batch, on memory that is a formula: nothing is tried that is predicted not to fit."""

import math
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from convarium.find.largest import Bounds, Found, Try, search


def find(
    peak: Callable[[int], float], bounds: Bounds, seconds: Callable[[int], float] = float
) -> tuple[list[int], Found]:
    """The sizes that were tried, in order, and what was found."""
    sizes = []

    def measure(size: int) -> Try:
        sizes.append(size)
        return Try(size, peak(size), seconds(size))

    found = search(measure, bounds)
    assert found is not None
    assert [each.size for each in found.tries] == sorted(sizes)
    return sizes, found


def test_sizes_are_doubled_and_the_last_is_predicted() -> None:
    sizes, found = find(lambda size: 100 + size, Bounds(room=1000, most=10_000))
    assert sizes == [8, 16, 32, 64, 128, 256, 512, 896]
    assert (found.largest.size, found.limit) == (896, "memory")


@example(base=201.0, slope=50.0, room=1000.0, multiple=8, powers=False)
@given(
    base=st.floats(0, 500),
    slope=st.floats(0.01, 50),
    room=st.floats(1000, 10_000),
    multiple=st.sampled_from([1, 3, 8]),
    powers=st.booleans(),
)
def test_what_is_found_fits_and_what_is_a_little_larger_does_not(
    base: float, slope: float, room: float, multiple: int, powers: bool
) -> None:
    most = 5_000
    bounds = Bounds(room, most, multiple, powers)
    sizes, found = find(lambda size: base + slope * size, bounds)
    assert all(base + slope * size <= room * (1 + 1e-9) for size in sizes[2:])  # two make a line
    assert found.largest.size % multiple == 0 or powers
    larger = 2 * found.largest.size if powers else found.largest.size * 1.04 + multiple
    assert larger > most or base + slope * larger > room


def test_where_memory_is_no_line_the_search_is_narrowed_down() -> None:
    sizes, found = find(lambda size: math.inf if size > 300 else 1.0, Bounds(room=10, most=10_000))
    assert 280 <= found.largest.size <= 300
    assert next(size for size in sizes if size > 300) == 512


def test_the_training_set_and_the_seconds_of_a_step_are_limits_too() -> None:
    _, found = find(lambda size: 1.0, Bounds(room=10, most=100))
    assert (found.largest.size, found.limit) == (96, "most")
    _, found = find(lambda size: 100 + size, Bounds(room=1100, most=10_000, seconds=300))
    assert (found.largest.size, found.limit, found.predicted) == (256, "seconds", 1000)


def test_the_smallest_with_nearly_the_best_speed_is_named() -> None:
    _, found = find(lambda size: 1.0, Bounds(room=10, most=1024), seconds=lambda size: 1 + max(size, 64) / 64)
    # images/s: 4, 8, 16, 32, 42.7, 51.2, 56.9, 60.2
    assert (found.enough.size, found.largest.size) == (1024, 1024)
    _, found = find(lambda size: 1.0, Bounds(room=10, most=1024), seconds=lambda size: max(size, 64) / 64)
    assert found.enough.size == 64


def test_powers_of_two_stay_powers_of_two() -> None:
    sizes, found = find(lambda size: 100 + size, Bounds(room=1000, most=10_000, multiple=6, powers=True))
    assert sizes == [4, 8, 16, 32, 64, 128, 256, 512]
    assert found.limit == "memory"


def test_nothing_is_found_where_the_first_does_not_fit() -> None:
    assert search(lambda size: Try(size, 11.0, 1.0), Bounds(room=10, most=100)) is None


@pytest.mark.parametrize(("size", "rounded"), [(7, 0), (8, 8), (23.9, 16), (math.inf, 96)])
def test_sizes_are_rounded_down(size: float, rounded: int) -> None:
    assert Bounds(room=1, most=100).rounded(size) == rounded
