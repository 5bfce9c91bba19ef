"""`convarium lr-find` and `convarium batch-find`: words in, an answer and a command to copy out."""

import json
import os
import re
import shlex
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from convarium.commands.batch_find import memory_of_word
from convarium.commands.completion import candidates
from convarium.config.compose import compose
from convarium.errors import ConfigError
from convarium.learn.learner import Learner
from processes import convarium as command
from processes import run


def batch_find(*words: str, code: int = 0) -> str:
    """What it prints, or its error, in a process of its own: a try cannot be a fork of one that has differentiated on
    another device."""
    log, errors = Path("log"), Path("errors")
    assert run(command, "batch-find", *words, log=log, errors=errors) == code, errors.read_text()
    return (errors if code else log).read_text()


SMALL = ("arch=mlp", "arch.hidden=[16]", "trainer.accelerator=cpu", "threads=1")


def test_lr_find_prints_two_rates_and_the_command_that_takes_one(convarium: Callable[..., Any]) -> None:
    words = (*SMALL, "name=a b", "optimizer=muon", "optimizer.lr=0.5", "optimizer.adamw_lr=0.025")
    code, out, _ = convarium("lr-find", *words, "steps=60", "to=test")
    assert code == 0
    lines = out.splitlines()
    assert lines[0] == "a b, batch 32: the rate rises from 1e-06 to 10 in 60 steps"
    tenth, steepest = (next(line.split()[0] for line in lines if what in line) for what in (": suggested", "steepest"))
    again = json.loads(convarium("lr-find", *words, "steps=60", "to=test", "--json").out)
    assert f"{again['rates']['tenth']:.2g}" == tenth
    assert f"{again['rates']['steepest']:.2g}" == steepest
    assert again["command"] == lines[-1]
    config = compose(shlex.split(lines[-1])[2:]).config
    assert config["optimizer"]["lr"] == again["suggested"] == float(tenth)
    assert config["optimizer"]["adamw_lr"] == pytest.approx(float(tenth) / 20, rel=0.05)
    assert (config["name"], again["folder"]) == ("a b", "test")


def test_lr_find_says_where_nothing_is_learned(convarium: Callable[..., Any]) -> None:
    code, out, _ = convarium("lr-find", *SMALL, "low=1e-12", "high=1e-11", "steps=10")
    assert code == 1
    assert "the loss hardly falls: no suggestion" in out
    assert "convarium train" not in out
    assert list(Path("lr_find").glob("mlp-digits-*/lr_find.png"))


def test_lr_find_that_is_stopped_says_so_in_a_line(
    convarium: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Learner.training_step

    def stopped(self: Learner, *arguments: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return step(self, *arguments)

    stopped.__signature__ = step.__signature__  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr(Learner, "training_step", stopped)
        code, out, err = convarium("lr-find", *SMALL, "to=test")
    assert (code, out) == (143, "")
    assert err.endswith("stopped by SIGTERM; the same command goes on\n")
    assert convarium("lr-find", *SMALL, "to=test").code == 0


def test_batch_find_prints_a_row_for_each_try_and_two_commands(own_directory: Path) -> None:
    words = (*SMALL, "trainer.accumulate_grad_batches=2", "batch_size=64", "max=100", "multiple=16", "steps=2")
    out = batch_find(*words)
    heading, *rows = (line.split() for line in out[out.index("batch  peak") :].split("\n\n")[0].splitlines())
    assert heading == ["batch", "peak", "memory", "s/step", "images/s"]
    assert [row[0] for row in rows] == ["32", "64", "96"]
    assert all(float(row[1]) * {"MB": 1, "GB": 1000}[row[2]] > 50 for row in rows)
    assert "96  the largest that fits; limited by max=100" in out
    assert "optimizer.lr=0.001 for a batch of 64 becomes 0.0015 for 96" in " ".join(out.split())
    command = f"convarium train {shlex.join([*SMALL, 'trainer.accumulate_grad_batches=2'])} batch_size="
    assert next(line for line in out.splitlines() if line.startswith("convarium train")) == f"{command}96"


def test_batch_find_answers_programs_and_says_what_would_be_refused(own_directory: Path) -> None:
    words = (*SMALL, "round=power", "steps=2", "max=1000", "multiple=256", "schedule.warmup=20 steps")
    told = json.loads(batch_find(*words, "trainer.max_epochs=1", "--json"))
    assert [tried["size"] for tried in told["tries"]] == [256, 512]
    assert (told["batch_size"], told["limit"]) == (512, "most")
    assert told["refused"].startswith("schedule.warmup=20 steps: 20 steps is not less than the run's ")
    assert told["linear_lr"] == pytest.approx(0.001 * 512 / 32)


def test_a_first_batch_that_does_not_fit_says_what_it_takes(own_directory: Path) -> None:
    error = batch_find(*SMALL, "memory=1M", code=2)
    says = (
        r"error: multiple=8: not even a batch of 8 fits into 900 kB, for it takes [\d.]+ [MG]B; accepted: more memory"
    )
    assert re.search(says, error)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("lr-find", "arch=lenet55"), "arch=lenet55: unknown; did you mean 'lenet5'?"),
        (("lr-find", "low=1", "high=0.1"), "low=1: accepted: less than high=0.1\n"),
        (("lr-find", "steps=1"), "steps=1: accepted: 10 to 100,000 steps\n"),
        (("lr-find", "high=nan"), "high=nan: expected a number above 0\n"),
        (("lr-find", "smoothing=1"), "smoothing=1: accepted: less than 1\n"),
        (("lr-find", "diverged=1"), "diverged=1: accepted: more than 1\n"),
        (("lr-find", "rise=cosine"), "rise=cosine: unknown. One of: exponential, linear\n"),
        (("lr-find", "optimizer.lr=0"), "optimizer.lr=0: a range test raises it; accepted: more than 0\n"),
        (("lr-find", "resume=runs"), "resume="),
        (("batch-find", "optimizer.lrr=1"), "optimizer.lrr"),
        (("batch-find", "memory=much"), "memory=much: expected a size such as 8G, 800M or 8GiB\n"),
        (("batch-find", "max=7"), "multiple=8: a device has at most 7 images at a time\n"),
        (("batch-find", "steps=1"), "steps=1: accepted: 2 to 1,000 steps\n"),
    ],
)
def test_what_is_wrong_is_one_line_and_nothing_is_made(
    convarium: Callable[..., Any], words: tuple[str, ...], says: str
) -> None:
    verb, *rest = words
    code, _, err = convarium(verb, *SMALL, *rest)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: {says}")
    assert list(Path.cwd().iterdir()) == []


@pytest.mark.parametrize(
    ("word", "size"), [("8G", 8e9), ("800 MB", 8e8), ("1.5k", 1500), ("2GiB", 2**31), ("12", 12), ("3Ti", 3 * 2**40)]
)
def test_sizes_of_memory_are_read(word: str, size: float) -> None:
    assert memory_of_word(word) == size


@pytest.mark.parametrize("word", ["", "8 apples", "-1G", "0", "G", "1e3"])
def test_what_is_no_size_is_refused(word: str) -> None:
    with pytest.raises(ConfigError):
        memory_of_word(word)


def test_their_words_are_completed_as_those_of_train() -> None:
    assert candidates("convarium lr-find arch=vgg1") == candidates("convarium train arch=vgg1")
    assert candidates("convarium batch-find optimizer.lr") == ["optimizer.lr="]
    assert candidates("convarium lr-find rise=") == ["rise=exponential", "rise=linear"]
    assert "recipe=" in candidates("convarium batch-find r")
    assert "resume=" not in candidates("convarium batch-find r")
