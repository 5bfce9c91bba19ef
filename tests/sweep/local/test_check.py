"""What is looked at before the first job of a sweep: everything, and nothing twice."""

import re
from unittest.mock import Mock

import pytest

from convarium.run import preflight, prepare
from convarium.sweep.local.check import check
from experiments import config_of


@pytest.mark.parametrize(
    ("first", "second", "networks", "datasets"),
    [
        ("seed=1", "seed=2", 1, 1),
        ("optimizer.lr=0.1", "optimizer.lr=0.2", 1, 1),
        ("optimizer=adamw", "optimizer=sgd", 2, 1),  # whose memory differs
        ("norm=paper", "norm=batch", 2, 1),
        ("batch_size=16", "batch_size=32", 2, 2),
        ("data.val_fraction=0.1", "data.val_fraction=0.2", 2, 2),
        ("data.split_seed=1", "data.split_seed=2", 2, 2),
    ],
)
def test_nothing_is_looked_at_twice(
    first: str, second: str, networks: int, datasets: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    look, read = Mock(wraps=preflight.preflight), Mock(wraps=prepare.read_data)
    monkeypatch.setattr(preflight, "preflight", look)
    monkeypatch.setattr(prepare, "read_data", read)
    done = check([config_of(first), config_of(second), config_of(first)])["preflights"]
    assert done[0] == done[2]
    assert (look.call_count, read.call_count) == (networks, datasets)


def test_the_job_that_cannot_run_is_named_by_its_place() -> None:
    good, bad = config_of("data=digits"), config_of("data=digits")
    bad["batch_size"] = 5000
    answer = check([good, bad])
    assert re.match(r"batch_size=5000: more than the .* training images", answer["error"])
    assert answer["job"] == 1


@pytest.mark.parametrize(("group", "name"), [("stop", "early"), ("optimizer", "sgd")])
def test_what_each_job_names_is_looked_for(group: str, name: str) -> None:
    good, bad = config_of(), config_of(f"{group}={name}")
    bad[group]["_target_"] = f"{bad[group]['_target_'].rpartition('.')[0]}.Nope"
    assert check([good, bad])["error"].startswith(f"{group}._target_={bad[group]['_target_']}: not found")


def test_the_memory_is_that_of_each_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(preflight, "check_memory", lambda net, config, at: seen.append(config["optimizer"]["_target_"]))
    jobs = ("optimizer=sgd", "optimizer=sgd", "optimizer=adamw")
    lrs = (0.1, 0.2, 0.1)
    assert "preflights" in check([config_of(job, f"optimizer.lr={lr}") for job, lr in zip(jobs, lrs, strict=True)])
    assert seen == ["torch.optim.SGD", "torch.optim.AdamW"]
