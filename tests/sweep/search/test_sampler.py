"""Which point comes next: the same for the same history, new each time, and near what was good."""

import math
from collections.abc import Sequence

import pytest

from convarium.results.search import Trial, new_study
from convarium.sweep.search.sampler import Sampler, choose_sampler

LR = {"low": 1e-4, "high": 1.0, "log": True, "step": None, "whole": False}
SPACE = {"lr": LR, "decay": {**LR, "low": 1e-6}}
CHOICES = {"clip": {"choices": ["none", "norm", "adaptive"]}, "depth": {**LR, "low": 1, "high": 2, "whole": True}}


def trial(params: dict, value: float | Sequence[float] | None, status: str = "ok") -> Trial:
    values = [value] if isinstance(value, float) else value
    return Trial(params, [], status, None if values is None else list(values))


def distance(point: dict) -> float:
    """From lr=0.01, decay=0.001, in decades."""
    return math.hypot(math.log10(point["lr"]) + 2, math.log10(point["decay"]) + 3)


def run(name: str, number: int, *, seed: int = 1) -> list[Trial]:
    sampler, found = Sampler(name, SPACE, ["min"], seed=seed, trials=number), list[Trial]()
    for _ in range(number):
        point = sampler.next(found)
        assert point is not None
        found.append(trial(point, distance(point)))
    return found


@pytest.mark.parametrize("name", ["tpe", "gp", "random", "cmaes", "nsga2"])
def test_the_same_seed_gives_the_same_points_and_another_others(name: str) -> None:
    number = 12
    assert [each.params for each in run(name, number)] == [each.params for each in run(name, number)]
    assert run(name, 3)[2].params != run(name, 3, seed=2)[2].params


@pytest.mark.parametrize("name", ["tpe", "gp", "random"])
def test_a_search_that_is_continued_goes_on_as_one_that_was_not_interrupted(name: str) -> None:
    whole = run(name, 13)
    assert Sampler(name, SPACE, ["min"], seed=1, trials=13).next(whole[:12]) == whole[12].params


@pytest.mark.parametrize("name", ["tpe", "gp", "cmaes"])
def test_it_learns_from_what_it_is_told(name: str) -> None:
    best = {each: min(distance(trial.params) for trial in run(each, 30)) for each in (name, "random")}
    assert best[name] < 0.5 * best["random"]


def test_cma_es_begins_where_an_earlier_process_was_good() -> None:
    before = run("cmaes", 24)
    again = Sampler("cmaes", SPACE, ["min"], seed=5, trials=40)
    points = [again.next([*before, *(trial({}, None, "failed") for _ in range(more))]) for more in range(6)]
    assert sum(distance(point) for point in points) / 6 < 1.2  # of a random one 1.9


def test_a_point_is_never_given_twice_and_the_end_of_the_space_is_seen() -> None:
    sampler, found = Sampler("tpe", CHOICES, ["max"], seed=1, trials=99), list[Trial]()
    while (point := sampler.next(found)) is not None:
        assert point not in [each.params for each in found]
        found.append(trial(point, 1.0))
    assert len(found) == 6


def test_a_grid_is_worked_off_in_its_order() -> None:
    sampler = Sampler("grid", CHOICES, ["max"], seed=1, trials=99)
    assert sampler.next([]) == {"clip": "none", "depth": 1}
    assert sampler.next([trial({"clip": "none", "depth": 1}, 1.0)]) == {"clip": "none", "depth": 2}


def history_states(*trials: Trial) -> list[tuple[str, float | None]]:
    sampler = Sampler("tpe", SPACE, ["max"], seed=1, trials=9)
    made = sampler._history(trials, new_study(SPACE, ["max"])[1])
    return [(each.state.name, each.value if each.state.name == "COMPLETE" else None) for each in made]


def test_how_a_trial_ended_decides_what_the_sampler_learns() -> None:
    point = {"lr": 0.1, "decay": 0.1}
    ends = ["ok", "ok", "pruned", "diverged", "oom", "failed", "timeout", "running"]
    values = [0.9, 0.4, 0.2, None, None, 0.7, None, None]
    told = history_states(*(trial(point, value, end) for value, end in zip(values, ends, strict=True)))
    complete = [("COMPLETE", value) for value in (0.9, 0.4, 0.2, 0.4, 0.4)]  # the worst of those well
    assert told == [*complete, ("FAIL", None), ("FAIL", None), ("RUNNING", None)]


def test_as_long_as_none_is_well_one_that_diverged_says_nothing() -> None:
    assert history_states(trial({"lr": 0.1, "decay": 0.1}, None, "diverged")) == [("FAIL", None)]


def test_a_point_of_before_that_lies_outside_says_nothing() -> None:
    assert history_states(trial({"lr": 7.0, "decay": 0.1}, 0.9)) == [("FAIL", None)]


def test_two_objectives_are_traded_by_nsga2() -> None:
    sampler, found = Sampler("nsga2", SPACE, ["min", "max"], seed=1, trials=40), list[Trial]()
    for _ in range(40):
        point = sampler.next(found)
        assert point is not None
        found.append(trial(point, [distance(point), -distance({**point, "lr": point["lr"] / 10})]))
    late, early = (sum(each.values[0] - each.values[1] for each in part) for part in (found[-8:], found[:8]))  # type: ignore[index]
    assert late < 0.8 * early


def test_auto_is_the_sampler_that_fits() -> None:
    assert [choose_sampler("auto", *of) for of in ((100, 1), (101, 1), (30, 2))] == ["gp", "tpe", "nsga2"]
    assert choose_sampler("random", 500, 1) == "random"


def test_a_gp_takes_a_loss_that_exploded_for_no_worse_than_a_bad_one() -> None:
    points = [{"lr": lr, "decay": 0.1} for lr in (0.001, 0.01, 0.1, 1.0)]
    trials = [trial(point, value) for point, value in zip(points, (0.2, 0.3, 0.5, 1e30), strict=True)]
    made = {}
    for name in ("gp", "tpe"):
        sampler = Sampler(name, SPACE, ["min"], seed=1, trials=9)
        made[name] = [each.value for each in sampler._history(trials, new_study(SPACE, ["min"])[1])]
    assert made["gp"] == pytest.approx([0.2, 0.3, 0.5, 0.6])  # twice as far from the best as the median is
    assert made["tpe"] == [0.2, 0.3, 0.5, 1e30]
