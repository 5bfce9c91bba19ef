"""A try of a batch: its memory is that of real steps, it leaves nothing behind, and a lack of memory is no error.

A try is a fork, and torch cannot differentiate in the fork of a process that has done so on another device, as other
tests have; so each test has a process of its own.
"""

import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from convarium.errors import ConfigError
from convarium.find.largest import AIR, Bounds, search
from convarium.find.tries import memory_of, trier
from convarium.learn.learner import Learner
from convarium.run.prepare import prepare
from experiments import config_of
from processes import run

# much memory and little to compute: a third of a megabyte for an image as float32 numbers, and four units
LARGE = ("arch.hidden=[4]", "data.image_size=256", "data.train_size=1024", "data.test_size=16")


def search_with_a_limit() -> None:
    """The largest batch where about 400 images fit, in a process as small as that of a command."""
    measure = trier(prepare(config_of(*LARGE)), 2, math.inf)
    memory = measure(400).peak / (1 - AIR)
    bounds = Bounds((1 - AIR) * memory, 1024, multiple=64)
    found = search(measure, bounds)
    assert found is not None
    assert found.limit == "memory"
    assert found.largest.peak <= (1 - AIR) * memory
    assert measure(found.largest.size * 5 // 4).peak > (1 - AIR) * memory
    assert all(each.peak < 1.1 * memory for each in found.tries)


def test_the_batch_that_is_found_fits_with_a_tenth_of_air_and_a_larger_one_does_not(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run(search_with_a_limit, log=log) == 0, log.read_text()


def leave_nothing_behind() -> None:
    prepared, there = prepare(config_of(*LARGE)), sorted(Path.cwd().iterdir())
    generator, threads = torch.get_rng_state(), torch.get_num_threads()
    size, peak, seconds = trier(prepared, 3, math.inf)(64)
    assert (size, peak > 1e8, 0 < seconds < 60) == (64, True, True)
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.get_num_threads() == threads
    assert (prepared.data.batch_size, prepared.data.trainer) == (32, None)
    assert sorted(Path.cwd().iterdir()) == there


def lack_memory(failure: BaseException | None) -> None:
    """With a failure of each step, or, for None, with what the kernel does."""

    def fails(*_: Any) -> None:
        if failure is None:
            os.kill(os.getpid(), signal.SIGKILL)
        raise failure or AssertionError

    Learner.training_step = fails  # type: ignore[method-assign]  # in a process of its own
    assert trier(prepare(config_of(*LARGE)), 2, math.inf)(8) == (8, math.inf, 0.0)


def fail_otherwise() -> None:
    def fails(*_: Any) -> None:
        raise ValueError("no such thing")

    Learner.training_step = fails  # type: ignore[method-assign]  # in a process of its own
    with pytest.raises(ConfigError, match=r"^no such thing$"):
        trier(prepare(config_of(*LARGE)), 2, math.inf)(8)


def test_a_try_leaves_nothing_behind(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run(leave_nothing_behind, log=log) == 0, log.read_text()


@pytest.mark.parametrize(
    "failure", [RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), MemoryError(), None]
)
def test_a_lack_of_memory_is_a_peak_without_end(failure: BaseException | None, tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run(lack_memory, failure, log=log) == 0, log.read_text()


def test_any_other_failure_is_said(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert run(fail_otherwise, log=log) == 0, log.read_text()


def test_the_memory_of_this_machine_is_between_what_is_free_and_what_there_is() -> None:
    total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 1e8 < memory_of(prepare(config_of(*LARGE))) <= total


@pytest.mark.gpu
def test_on_a_gpu_too_and_what_was_taken_is_given_back() -> None:
    prepared = prepare(config_of(*LARGE, "trainer.accelerator=gpu", "data.train_size=1000000"))
    memory, before = 2e9, torch.cuda.memory_allocated()
    measure, bounds = trier(prepared, 2, memory), Bounds((1 - AIR) * memory, 10**6)
    found = search(measure, bounds)
    assert found is not None
    assert found.limit == "memory"
    assert found.largest.peak <= (1 - AIR) * memory
    assert measure(found.largest.size * 5 // 4).peak == math.inf
    assert torch.cuda.memory_allocated() <= before + prepared.data._train.images.nbytes + 1e6  # type: ignore[attr-defined]
    assert torch.cuda.get_per_process_memory_fraction() == 1.0
