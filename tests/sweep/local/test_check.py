"""What is looked at before the first job of a sweep: everything, and nothing twice."""

from typing import Any

import pytest

from convarium.run import fit as job
from convarium.sweep.local import check
from convarium.sweep.local.check import FailedPreflight, preflight_each
from experiments import config_of


class Counting:
    """A function, and how often it was called."""

    def __init__(self, function: Any) -> None:
        self.function = function
        self.calls = 0

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        self.calls += 1
        return self.function(*arguments, **keywords)


@pytest.mark.parametrize(
    ("first", "second", "networks", "datasets"),
    [
        ("seed=1", "seed=2", 1, 1),
        ("optimizer.lr=0.1", "optimizer=sgd", 1, 1),
        ("norm=paper", "norm=batch", 2, 1),
        ("batch_size=16", "batch_size=32", 2, 2),
        ("data.val_fraction=0.1", "data.val_fraction=0.2", 2, 2),
        ("data.split_seed=1", "data.split_seed=2", 2, 2),
    ],
)
def test_nothing_is_looked_at_twice(
    first: str, second: str, networks: int, datasets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    preflight, build_data = Counting(check.preflight), Counting(job.build_data)
    monkeypatch.setattr(check, "preflight", preflight)
    monkeypatch.setattr(job, "build_data", build_data)
    found = dict(preflight_each([config_of(first), config_of(second), config_of(first)]))
    assert sorted(found) == [0, 1, 2]
    assert found[0] == found[2]
    assert (preflight.calls, build_data.calls) == (networks, datasets)


def test_the_job_that_cannot_run_is_named_by_its_place() -> None:
    good, bad = config_of("data=digits"), config_of("data=digits")
    bad["batch_size"] = 5000
    with pytest.raises(FailedPreflight, match=r"batch_size=5000: more than the .* training images") as caught:
        list(preflight_each([good, bad]))
    assert caught.value.number == 1
