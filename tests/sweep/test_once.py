"""Jobs that train the same network in the same way are run once; when in doubt, each is run."""

import re
import shutil
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
from sweeps import board, results, statuses, sweep, sweep_directory, weights

TANH = "activation=paper,scaled_tanh"  # the paper's is the scaled tanh


def same() -> dict[str, str]:
    """Activation -> what its row says that it is the same as."""
    return {row["activation"]: row["same_as"] for row in board()}


def starts() -> list[str]:
    """The activations of the jobs that were started, in their order."""
    return [entry["job"].partition("-")[0] for entry in sweep_directory().entries() if entry["status"] == "running"]


def planned(processes: Processes, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str]:
    """What a dry run says: the activation (and seed) of each job -> its status, and what it is the same network as."""
    capsys.readouterr()
    assert sweep(processes, *words, "sweep.dry_run=true") == 0
    lines = re.findall(
        r"^ +\d+  (\w+) +activation=(\S+(?: seed=\d)?)(.*)$", capsys.readouterr().out, flags=re.MULTILINE
    )
    return {
        job: f"{status}{note.replace('  (the same network as activation=', ' = ').rstrip(')')}"
        for status, job, note in lines
    }


def test_one_network_is_trained_once_and_has_a_row_for_each_answer(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    assert planned(processes, capsys, TANH, "seed=1,2") == {
        "paper seed=1": "queued",
        "paper seed=2": "queued",
        "scaled_tanh seed=1": "queued = paper seed=1",
        "scaled_tanh seed=2": "queued = paper seed=2",
    }
    assert sweep(processes, TANH, "dropout=0.1") == 0
    said = capsys.readouterr().out
    assert "jobs  2: 1 new, 1 the same network as another job\n" in said
    assert "[1/1]" in said
    assert "2 of 2 jobs ended well" in said
    ours, theirs = board()
    assert (ours.pop("activation"), ours.pop("same_as")) == ("paper", "")
    assert (theirs.pop("activation"), theirs.pop("same_as")) == ("scaled_tanh", "activation=paper")
    assert ours == theirs
    manifest = sweep_directory().manifest_file.read_text()
    assert sweep(processes, TANH, "dropout=0.1") == resume(sweep_directory().path, []) == 0
    assert sweep_directory().manifest_file.read_text() == manifest
    assert sweep(processes, "activation=scaled_tanh", "dropout=0.1", name="alone") == 0
    assert [*weights().values()] == [*weights("alone").values()]  # bit for bit


@pytest.mark.slow
def test_an_answer_added_later_takes_the_run_that_is_there_and_without_that_it_is_run(
    processes: Processes, capsys: pytest.CaptureFixture[str]
) -> None:
    later = "activation=paper,relu"
    assert sweep(processes, "activation=scaled_tanh,relu") == sweep(processes, later) == 0
    answers = {"paper": "activation=scaled_tanh", "scaled_tanh": "", "relu": ""}
    assert (same(), sorted(starts())) == (answers, ["relu", "scaled_tanh"])
    lines = sweep_directory().manifest_file.read_text().splitlines(keepends=True)
    sweep_directory().manifest_file.write_text("".join(lines[:-1]) + lines[-1][:40])  # as a kill may leave it
    assert planned(processes, capsys, later) == {"paper": "ok = scaled_tanh", "relu": "ok"}
    sweep_directory().manifest_file.write_text("".join(lines))
    run = next(sweep_directory().run(name) for name in results() if "scaled" in name)
    whole = run.result_file.read_text()
    run.result_file.write_text(whole.replace('"status": "ok"', '"status": "failed"'))
    assert planned(processes, capsys, TANH) == {"paper": "failed = scaled_tanh", "scaled_tanh": "failed"}
    assert planned(processes, capsys, later) == {"paper": "queued", "relu": "ok"}  # the run is no job of this command
    run.result_file.write_text(whole)
    shutil.rmtree(run.path)
    assert {row.swept["activation"]: row.status for row in open_table(["sweeps/s"]).rows} == {
        "paper": "queued",
        "scaled_tanh": "queued",
        "relu": "ok",
    }
    assert resume(sweep_directory().path, []) == 1  # neither has a config to go on with
    assert capsys.readouterr().err.count("has no folder any more") == 2
    assert sweep(processes, later) == 0
    assert (same(), starts()[2:]) == ({**answers, "paper": ""}, ["paper"])


@pytest.mark.slow
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

    def key(*words: str) -> str:
        return training_key(job_at(conf, [*base, *words], ["activation"]), "f")

    same = {key("activation=paper"), key("activation=scaled_tanh"), key("activation=paper", "threads=2")}
    assert len(same) == 1
    assert len(same | {key("activation=paper", change) for change in changes}) == 1 + len(changes)
    job = job_at(conf, [*base, "activation=paper"], ["activation"])
    assert (training_key(job, ""), training_key(job, "f") == training_key(job, "g")) == ("", False)
