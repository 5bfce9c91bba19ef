"""Differences between answers, held against scipy and statsmodels, and what is not said."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from convarium.results.comparisons import against_best, difference, holm, mcnemar, paired
from convarium.results.rows import open_table
from results.test_leaderboard import add, begin, seeded

PAIRS = st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=2, max_size=20)


@given(PAIRS)
@settings(deadline=None)
def test_a_paired_difference_is_that_of_scipy(pairs: list[tuple[float, float]]) -> None:
    first, second = ({seed: pair[k] for seed, pair in enumerate(pairs)} for k in (0, 1))
    found = difference(first, second)
    assert found is not None
    differences = [a - b for a, b in pairs]
    if max(differences) - min(differences) > 1e-9:
        test = stats.ttest_rel(*zip(*pairs, strict=True))
        assert found.p == pytest.approx(test.pvalue, rel=1e-6, abs=1e-12)
        assert (found.low, found.high) == pytest.approx(tuple(test.confidence_interval()), rel=1e-6, abs=1e-9)


def test_what_is_common_to_a_seed_is_taken_out_by_pairing() -> None:
    first, second = {1: 0.50, 2: 0.70, 3: 0.91}, {1: 0.48, 2: 0.69, 3: 0.88}
    found = difference(first, second)
    assert found is not None
    assert found.is_paired
    assert found.number == 3
    assert found.p < 0.1 < stats.ttest_ind([*first.values()], [*second.values()]).pvalue


def test_only_seeds_that_both_have_are_pairs_and_without_any_welch_compares() -> None:
    found = difference({1: 0.5, 2: 0.6, 3: 0.9}, {2: 0.5, 3: 0.7, 4: 0.1})
    assert found is not None
    assert (found.number, found.mean) == (2, pytest.approx(0.15))
    apart = difference({1: 0.5, 2: 0.6}, {3: 0.1, 4: 0.3, 5: 0.15})
    assert apart is not None
    assert not apart.is_paired
    test = stats.ttest_ind([0.5, 0.6], [0.1, 0.3, 0.15], equal_var=False)
    assert apart.p == pytest.approx(test.pvalue)
    assert (apart.low, apart.high) == pytest.approx(tuple(test.confidence_interval()))
    assert difference({1: 0.5}, {}) is None


def test_the_interval_of_a_difference_of_shares_goes_no_further_than_1() -> None:
    first, second = {1: 0.98, 2: 0.2, 3: 0.9}, {1: 0.1, 2: 0.3, 3: 0.1}
    free, bound = difference(first, second), difference(first, second, share=True)
    assert free is not None
    assert free.high > 1
    assert bound == free._replace(low=max(free.low, -1.0), high=1.0)
    assert difference({1: 0.5}, {1: 0.4}, share=True) == difference({1: 0.5}, {1: 0.4})  # says nothing: no interval


def test_of_one_pair_nothing_can_be_said_and_of_equal_differences_what_their_signs_say() -> None:
    assert paired([0.3]) == (0.3, -math.inf, math.inf, 1, 1.0, True)
    assert paired([0.25, 0.25, 0.25]).p == 0.25
    assert paired([0.0, 0.0, 0.0]).p == 1.0


def test_differences_that_agree_to_the_image_are_known_to_an_image_and_no_better() -> None:
    by_scipy = stats.ttest_1samp([0.24, 0.25, 0.26], 0.0).pvalue
    assert paired([0.25] * 3, grain=0.01).p == pytest.approx(by_scipy)
    assert paired([0.24, 0.25, 0.26], grain=0.001).p == pytest.approx(by_scipy)
    assert paired([0.0, 0.0], grain=0.01).p == 1.0
    apart = difference({1: 0.5, 2: 0.5}, {3: 0.1, 4: 0.1}, grain=0.1 / 2**0.5)
    assert apart is not None
    assert apart.p == pytest.approx(stats.ttest_ind([0.45, 0.55], [0.05, 0.15], equal_var=False).pvalue)


def test_an_accuracy_steps_by_an_image_of_its_split_and_no_other_metric_does() -> None:
    sweep = begin("norm", "seed")
    for seed in (1, 2):
        metrics = {"best/val/acc1": 0.5, "test/acc1": 0.5, "val/loss": 0.5}
        add(sweep, f"a-{seed}", {"norm": "a", "seed": seed}, metrics=metrics, images={"val": 10, "test": 20})
    [group] = open_table(["sweeps/s"]).groups
    assert [group.grain(name) for name in ("best/val/acc1", "test/acc1", "val/loss")] == [0.1, 0.05, 0.0]


def test_the_smallest_of_three_p_values_is_tripled_the_next_doubled_and_their_order_kept() -> None:
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.4, 0.9]) == pytest.approx([0.8, 0.9])
    assert holm([]) == []


@pytest.mark.slow  # to import statsmodels takes as long as all others
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
@settings(deadline=None)
def test_holms_correction_is_that_of_statsmodels(ps: list[float]) -> None:
    from statsmodels.stats.multitest import multipletests

    assert holm(ps) == pytest.approx(multipletests(ps, method="holm")[1], abs=1e-12)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (0, 6), (5, 5), (12, 3), (300, 250)])
def test_mcnemars_test_is_the_exact_binomial_one(first: int, second: int) -> None:
    expected = stats.binomtest(first, first + second, 0.5).pvalue if first + second else 1.0
    assert mcnemar(first, second) == pytest.approx(expected)


@pytest.mark.slow
@pytest.mark.parametrize(("first", "second"), [(1, 0), (5, 5), (12, 3), (300, 250)])
def test_mcnemars_test_is_that_of_statsmodels(first: int, second: int) -> None:
    from statsmodels.stats.contingency_tables import mcnemar as peer

    expected = peer([[100, first], [second, 10]], exact=True).pvalue
    assert mcnemar(first, second) == pytest.approx(min(1.0, expected))


def test_the_best_is_held_against_every_other_and_their_number_counts() -> None:
    seeded({"none": [0.50, 0.61, 0.69], "batch": [0.80, 0.90, 0.99], "group": [0.81, 0.85, 0.99]})
    table = open_table(["sweeps/s"])
    found = {one.other.swept["norm"]: one for one in against_best(table)}
    assert set(found) == {"none", "group"}
    assert found["none"].p == pytest.approx(2 * found["none"].difference.p)
    assert found["none"].is_said
    assert not found["group"].is_said


def test_seeds_and_folds_are_never_mixed() -> None:
    sweep = begin("seed", "data.fold")
    for seed, fold, score in ((1, 0, 0.5), (1, 1, 0.7), (2, 0, 0.6), (2, 1, 0.8)):
        add(sweep, f"{seed}{fold}", {"seed": seed, "data.fold": fold}, metrics={"best/val/acc1": score})
    [group] = open_table(["sweeps/s"]).groups
    seeds, folds = (group.over[axis]["best/val/acc1"] for axis in ("seed", "data.fold"))
    assert (seeds.number, seeds.deviation) == (2, pytest.approx(math.sqrt(0.005)))
    assert (folds.number, folds.deviation) == (2, pytest.approx(math.sqrt(0.02)))
    assert group.spreads is group.over["data.fold"]


def test_folds_are_not_independent_and_their_difference_says_less() -> None:
    first, second = {0: 0.5, 1: 0.6, 2: 0.75}, {0: 0.4, 1: 0.55, 2: 0.6}
    seeds, folds = difference(first, second, "seed"), difference(first, second, "data.fold")
    assert seeds is not None
    assert folds is not None
    assert folds.p > seeds.p
