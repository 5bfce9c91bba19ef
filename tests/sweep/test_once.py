"""Jobs that train the same network in the same way are run once; when in doubt, each is run."""

import shutil
from pathlib import Path
from unittest.mock import Mock

import pytest

from convarium.config.compose import Conf
from convarium.results.rows import open_table
from convarium.sweep.local import check as check_module
from convarium.sweep.local.check import check
from convarium.sweep.local.processes import Processes
from convarium.sweep.plan import job_at, training_key
from convarium.sweep.resume import resume
from experiments import SMALL, config_of
from sweeps import board, statuses, sweep, sweep_directory, weights

TANH = "activation=paper,scaled_tanh"  # the paper's is the scaled tanh


def same() -> dict[str, str]:
    """Activation -> what its row says that it is the same as."""
    return {row["activation"]: row["same_as"] for row in board()}


def starts() -> list[str]:
    """The activations of the jobs that were started, in their order."""
    return [entry["job"].partition("-")[0] for entry in sweep_directory().entries() if entry["status"] == "running"]


def test_one_network_is_trained_once_and_has_a_row_for_each_answer(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (TANH, "seed=1,2", "dropout=0.1")
    assert sweep(processes, *words, "sweep.dry_run=true") == 0
    said = capsys.readouterr().out
    assert "jobs  4: 2 new, 2 the same network as another job\n" in said
    assert "queued  activation=scaled_tanh seed=2  (the same network as activation=paper seed=2)\n" in said
    assert sweep(processes, *words) == 0
    said = capsys.readouterr().out
    assert "[2/2]" in said
    assert "4 of 4 jobs ended well" in said
    assert starts() == ["paper"] * 2
    rows = {(row.pop("activation"), row["seed"]): row for row in board()}
    for seed in "12":
        ours, theirs = rows["paper", seed], rows["scaled_tanh", seed]
        assert (ours.pop("same_as"), theirs.pop("same_as")) == ("", "activation=paper")
        assert ours == theirs
    manifest = sweep_directory().manifest_file.read_text()
    assert sweep(processes, *words) == resume(sweep_directory().path, []) == 0
    assert sweep_directory().manifest_file.read_text() == manifest
    assert sweep(processes, "activation=scaled_tanh", "seed=1", "dropout=0.1", name="alone") == 0
    found = {name.rpartition("-")[0]: values for name, values in weights().items()}
    assert [found["paper-seed-1"]] == [*weights("alone").values()]  # bit for bit


def test_an_answer_added_later_takes_the_run_that_is_there_and_without_that_it_is_run(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep(processes, "activation=scaled_tanh,relu") == 0
    assert sweep(processes, "activation=paper,relu") == 0
    answers = {"paper": "activation=scaled_tanh", "scaled_tanh": "", "relu": ""}
    assert same() == answers
    lines = sweep_directory().manifest_file.read_text().splitlines(keepends=True)
    sweep_directory().manifest_file.write_text("".join(lines[:-1]) + lines[-1][:40])  # as a kill may leave it
    assert sweep(processes, "activation=paper,relu") == 0
    assert (same(), sorted(starts())) == (answers, ["relu", "scaled_tanh"])
    shutil.rmtree(next(path for path in Path("sweeps/s/jobs").iterdir() if "scaled" in path.name))
    assert {row.swept["activation"]: row.status for row in open_table(["sweeps/s"]).rows} == {
        "paper": "queued",
        "scaled_tanh": "queued",
        "relu": "ok",
    }
    capsys.readouterr()
    assert resume(sweep_directory().path, []) == 1  # neither has a config to go on with
    assert capsys.readouterr().err.count("has no folder any more") == 2
    assert sweep(processes, "activation=paper,relu") == 0
    assert (same(), starts()[2:]) == ({**answers, "paper": ""}, ["paper"])
    assert sweep(processes, TANH) == 0
    assert (same(), starts()[2:]) == ({**answers, "paper": ""}, ["paper", "scaled_tanh"])


def test_a_failure_is_that_of_both_until_one_is_asked_for_alone(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("optimizer.lr=1e30",)
    assert sweep(processes, TANH, *words) == 1
    assert statuses("activation") == dict.fromkeys(("paper", "scaled_tanh"), "diverged")
    assert capsys.readouterr().err.count("  diverged  ") == 1
    assert sweep(processes, TANH, *words) == 1
    assert starts() == ["paper"]
    assert sweep(processes, TANH, *words, "sweep.retry_failed=true") == 1
    assert starts() == ["paper"] * 2
    assert sweep(processes, "activation=scaled_tanh,relu", *words) == 1
    assert starts()[2:] == ["scaled_tanh", "relu"]
    assert same() == {"paper": "", "scaled_tanh": "", "relu": ""}


def test_a_network_is_looked_at_once_and_only_where_answers_shape_it(monkeypatch: pytest.MonkeyPatch) -> None:
    look = Mock(wraps=check_module.fingerprint)
    monkeypatch.setattr(check_module, "fingerprint", look)
    configs = [config_of("seed=1"), config_of("seed=2"), config_of("optimizer.lr=0.1"), config_of("norm=batch")]
    prints = [preflight.network for preflight in check(configs, fingerprints=True)["preflights"]]
    assert look.call_count == 2
    assert len({*prints[:3]}) == 1 != len({*prints})
    assert [preflight.network for preflight in check(configs)["preflights"]] == [""] * 4
    assert look.call_count == 2


def test_whatever_else_differs_makes_another_training() -> None:
    conf, base = Conf(), [*SMALL, "data.folds=2", "data.fold=0", "sweep.name=s"]
    changes = ("seed=2", "data.split_seed=1", "data.fold=1", "augment=crop_flip", "loss.label_smoothing=0.1")
    changes += ("optimizer.lr=0.1", "decay=all", "precision=bf16", "batch_size=16", "trainer.max_epochs=2")

    def keys(activation: str) -> list[str]:
        points = [[*base, *change, f"activation={activation}"] for change in ([], *([word] for word in changes))]
        return [training_key(job_at(conf, point, ["activation"]), "f") for point in points]

    assert keys("paper") == keys("scaled_tanh")
    assert len({*keys("paper")}) == 1 + len(changes)
    job = job_at(conf, [*base, "activation=paper"], ["activation"])
    assert (training_key(job, ""), training_key(job, "f") == training_key(job, "g")) == ("", False)
