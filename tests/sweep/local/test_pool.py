"""Who computes where: how a machine is shared out, and that no GPU is given away twice."""

import os
import stat
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from convarium.errors import ConfigError
from convarium.machine import CORES, cores
from convarium.run.devices import Placement
from convarium.sweep.local.pool import Lease, Pool, Share, memory_available, share_out, visible_gpus

CPU = Placement("cpu", 1, 1)
TWO_CPUS = Placement("cpu", 2, 1)
CUDA = Placement("cuda", 1, 1)
TWO_GPUS = Placement("cuda", 2, 1)
MPS = Placement("mps", 1, 1)
GIB = 1 << 30


def shared_out(
    *placements: Placement,
    threads: Sequence[int | None] = (),
    jobs: int | str = "auto",
    devices_per_job: float | str = "auto",
    gpus: int = 0,
    cores: int = 8,
    memory: int = 1 << 40,
) -> tuple[int, list[Share]]:
    """`share_out` of a machine with eight cores, no GPU and all the memory there could be."""
    return share_out(
        placements,
        threads or [None] * len(placements),
        jobs=jobs,
        devices_per_job=devices_per_job,
        gpus=gpus,
        cores=cores,
        memory=memory,
    )


def equal(slots: int, number: int, share: Share) -> tuple[int, list[Share]]:
    return (slots, [share] * number)


@pytest.mark.parametrize(
    ("placements", "machine", "layout"),
    [
        # as many jobs as there are cores share them equally
        ([CPU] * 100, {}, equal(8, 100, Share(0, 1, 1))),
        ([CPU] * 8, {}, equal(8, 8, Share(0, 1, 1))),
        ([CPU] * 3, {}, equal(3, 3, Share(0, 2, 1))),
        ([CPU] * 2, {}, equal(2, 2, Share(0, 4, 1))),
        ([CPU], {}, equal(1, 1, Share(0, 8, 1))),
        ([CPU] * 5, {"cores": 1}, equal(1, 5, Share(0, 1, 1))),
        # no more at a time than there is memory for; each has more cores then
        ([CPU] * 100, {"memory": 16 * GIB}, equal(8, 100, Share(0, 1, 1))),
        ([CPU] * 100, {"memory": 15 * GIB}, equal(7, 100, Share(0, 1, 1))),
        ([CPU] * 9, {"memory": 4 * GIB}, equal(2, 9, Share(0, 4, 1))),
        ([CPU] * 9, {"memory": 0}, equal(1, 9, Share(0, 8, 1))),
        # how many there are at a time can be given, more than cores too; cores are shared among the jobs there are
        ([CPU] * 9, {"jobs": 2, "memory": 0}, equal(2, 9, Share(0, 4, 1))),
        ([CPU] * 99, {"jobs": 20}, equal(20, 99, Share(0, 1, 1))),
        ([CPU] * 2, {"jobs": 8}, equal(8, 2, Share(0, 4, 1))),
        # threads are those of one process of several; a job with many takes several places
        ([TWO_CPUS] * 4, {"threads": [2] * 4}, equal(4, 4, Share(0, 4, 2))),
        ([CPU] * 2, {"threads": [1, 1]}, equal(2, 2, Share(0, 1, 1))),
        (
            [CPU] * 8,
            {"threads": [None, 1, 2, 3, 8, 99, None, None]},
            (8, [Share(0, number, number) for number in (1, 1, 2, 3, 8, 8, 1, 1)]),
        ),
        # jobs of several processes
        ([TWO_CPUS] * 9, {}, equal(4, 9, Share(0, 2, 1))),
        ([*[CPU] * 8, TWO_CPUS], {}, (8, [*[Share(0, 1, 1)] * 8, Share(0, 2, 2)])),
        ([Placement("cpu", 9, 1)] * 3, {}, equal(1, 3, Share(0, 8, 1))),
        ([], {}, (1, [])),
        # on GPUs: each job has its own, and their part of the cores; memory does not count
        ([CUDA] * 9, {"gpus": 1, "memory": 0}, equal(1, 9, Share(1, 8, 1))),
        ([CUDA] * 9, {"gpus": 4, "memory": 0}, equal(4, 9, Share(1, 2, 1))),
        ([CUDA] * 9, {"gpus": 8}, equal(8, 9, Share(1, 1, 1))),
        ([TWO_GPUS] * 9, {"gpus": 4}, equal(2, 9, Share(2, 4, 1))),
        ([TWO_GPUS] * 9, {"gpus": 5}, equal(2, 9, Share(2, 4, 1))),
        ([CUDA, TWO_GPUS, CUDA], {"gpus": 3}, (3, [Share(1, 2, 1), Share(2, 4, 2), Share(1, 2, 1)])),
        ([CUDA, CPU], {"gpus": 2}, (2, [Share(1, 4, 1), Share(0, 4, 1)])),
        ([MPS] * 9, {}, equal(1, 9, Share(0, 8, 1))),
        # parts of GPUs; a whole one is no part
        ([CUDA] * 99, {"gpus": 1, "devices_per_job": 0.5}, equal(2, 99, Share(1, 4, 1, part=True))),
        ([CUDA] * 99, {"gpus": 2, "devices_per_job": 0.25}, equal(8, 99, Share(1, 1, 1, part=True))),
        ([CUDA] * 99, {"gpus": 1, "devices_per_job": 0.3}, equal(3, 99, Share(1, 2, 1, part=True))),
        ([CUDA] * 99, {"gpus": 1, "devices_per_job": 0.1}, equal(10, 99, Share(1, 1, 1, part=True))),
        ([CUDA] * 9, {"gpus": 2, "devices_per_job": 1}, equal(2, 9, Share(1, 4, 1))),
        ([CUDA] * 9, {"gpus": 2, "devices_per_job": 1.0}, equal(2, 9, Share(1, 4, 1))),
    ],
)
def test_how_a_machine_is_shared_out(placements: list[Placement], machine: dict[str, Any], layout: Any) -> None:
    assert shared_out(*placements, **machine) == layout


@pytest.mark.parametrize(
    ("placements", "why"),
    [
        ([CPU], "shares out GPUs, and there is a job without"),
        ([MPS], "shares out GPUs, and there is a job without"),
        ([CUDA, CPU], "shares out GPUs, and there is a job without"),
        ([CUDA, TWO_GPUS], "shares out GPUs, and there is a job on several"),
    ],
)
@pytest.mark.parametrize("part", [0.25, 1])
def test_a_part_of_what_is_no_single_gpu_is_refused(placements: list[Placement], why: str, part: float) -> None:
    with pytest.raises(ConfigError) as caught:
        shared_out(*placements, gpus=2, devices_per_job=part)
    assert str(caught.value) == f"sweep.devices_per_job={part}: {why}; accepted: auto"


# laws


def at_a_time(layout: tuple[int, list[Share]], gpus: int, parts: int) -> list[Share]:
    """The shares that a pool gives out at once, asked for in their order."""
    slots, free, taken = layout[0], gpus * parts, []
    for share in layout[1]:
        wanted = share.gpus * (1 if share.part else parts)
        if share.slots <= slots and wanted <= free:
            slots, free = slots - share.slots, free - wanted
            taken.append(share)
    return taken


@st.composite
def machines(draw: st.DrawFn) -> dict[str, Any]:
    """A machine, jobs on its CPU or on its GPUs, and nothing told of how many at a time."""
    cores, gpus = draw(st.integers(1, 64)), draw(st.integers(0, 8))
    assume(cores >= gpus)  # every job has a core at least, so that too few are shared
    if gpus and draw(st.booleans()):
        part = draw(st.sampled_from(["auto", 0.5, 0.3, 0.25, 1]))
        most = 1 if part != "auto" else gpus
        placements = draw(st.lists(st.builds(Placement, st.just("cuda"), st.integers(1, most), st.just(1)), min_size=1))
        assume(part == "auto" or cores >= gpus * int(1 / part))  # as above
    else:
        part = "auto"
        kinds = st.builds(Placement, st.just("cpu"), st.integers(1, 9), st.just(1))
        placements = draw(st.lists(kinds | st.just(MPS), min_size=1))
    threads = draw(st.lists(st.none() | st.integers(1, 70), min_size=len(placements), max_size=len(placements)))
    memory = draw(st.integers(0, 200)) * GIB
    return {
        "placements": placements,
        "threads": threads,
        "devices_per_job": part,
        "gpus": gpus,
        "cores": cores,
        "memory": memory,
    }


@given(machines())
@settings(deadline=None)
def test_jobs_side_by_side_have_no_more_cores_than_there_are(machine: dict[str, Any]) -> None:
    layout = share_out(**machine, jobs="auto")
    part = machine["devices_per_job"]
    parts = 1 if part == "auto" else int(1 / part)
    assert sum(share.cores for share in at_a_time(layout, machine["gpus"], parts)) <= machine["cores"]


@given(machines(), st.just("auto") | st.integers(1, 100))
@settings(deadline=None)
def test_every_job_fits_in_alone(machine: dict[str, Any], jobs: int | str) -> None:
    layout = share_out(**machine, jobs=jobs)
    assert jobs != "auto" or 1 <= layout[0] <= len(machine["placements"])
    for share, placement in zip(layout[1], machine["placements"], strict=True):
        assert 1 <= share.slots <= layout[0]
        assert 1 <= share.cores <= machine["cores"]
        assert share.gpus == (placement.devices if placement.accelerator == "cuda" else 0)


# leases


WHOLE = Share(1, 1, 1)
PART = Share(1, 1, 1, part=True)


@contextmanager
def lent(pool: Pool, share: Share) -> Iterator[Lease]:
    """A lease that is given back."""
    lease = pool.lease(share)
    assert lease is not None
    try:
        yield lease
    finally:
        pool.give_back(lease)


def test_there_is_no_lease_without_a_free_place(own_directory: Path) -> None:
    pool = Pool(3, ["0", "1"], locks=own_directory)
    with lent(pool, Share(0, 1, 2)):
        assert pool.lease(Share(0, 1, 2)) is None
        with lent(pool, WHOLE) as lease:
            assert lease.gpus == ("0",)


def test_every_job_has_gpus_of_its_own_and_none_if_it_needs_none(own_directory: Path) -> None:
    pool = Pool(9, ["0", "1", "2"], locks=own_directory)
    for _ in range(3):  # what was given back is lent again
        with lent(pool, Share(2, 1, 1)) as first, lent(pool, Share(0, 1, 1)) as none, lent(pool, WHOLE) as second:
            assert (first.gpus, none.gpus, second.gpus) == (("0", "1"), (), ("2",))
            assert pool.lease(Share(2, 1, 3)) is None
            assert pool.slots == 6  # a refused lease takes no place


def test_a_part_comes_from_the_gpu_with_the_least_left(own_directory: Path) -> None:
    pool = Pool(9, ["0", "1"], parts=3, locks=own_directory)
    with ExitStack() as stack:
        assert [stack.enter_context(lent(pool, PART)).gpus[0] for _ in range(4)] == ["0", "0", "0", "1"]
        with lent(pool, PART) as lease:
            assert lease.gpus == ("1",)


def test_a_gpu_has_no_more_parts_than_it_was_divided_into(own_directory: Path) -> None:
    pool = Pool(9, ["0"], parts=2, locks=own_directory)
    with lent(pool, PART), lent(pool, PART):
        assert pool.lease(PART) is None


def test_a_gpu_in_part_use_is_not_lent_whole(own_directory: Path) -> None:
    pool = Pool(9, ["0", "1"], parts=2, locks=own_directory)
    with lent(pool, PART), lent(pool, WHOLE) as whole:
        assert whole.gpus == ("1",)


# several controllers


def test_a_gpu_is_lent_by_one_pool_at_a_time(own_directory: Path) -> None:
    one, other = (Pool(9, ["0", "1"], locks=own_directory) for _ in range(2))
    with lent(one, WHOLE) as first, lent(other, WHOLE) as second:
        assert (first.gpus, second.gpus) == (("0",), ("1",))
        assert one.lease(WHOLE) is None
    with lent(other, WHOLE) as lease:  # which the other one gave back
        assert lease.gpus == ("0",)


def test_two_pools_do_not_share_a_gpu_by_parts(own_directory: Path) -> None:
    one, other = (Pool(9, ["0", "1"], parts=2, locks=own_directory) for _ in range(2))
    with lent(one, PART), lent(other, PART) as part, lent(other, PART) as rest:
        assert (part.gpus, rest.gpus) == (("1",), ("1",))


def test_a_gpu_is_free_for_others_only_with_its_last_part(own_directory: Path) -> None:
    one, other = (Pool(9, ["0"], parts=2, locks=own_directory) for _ in range(2))
    with lent(one, PART):
        with lent(one, PART):
            pass
        assert other.lease(PART) is None


def test_who_finds_too_few_gpus_keeps_none_of_them(own_directory: Path) -> None:
    one, other, third = (Pool(9, ["0", "1"], locks=own_directory) for _ in range(3))
    with lent(one, WHOLE):
        assert other.lease(Share(2, 1, 1)) is None
        with lent(third, WHOLE) as lease:
            assert lease.gpus == ("1",)


def test_the_gpus_of_a_killed_controller_are_free(own_directory: Path) -> None:
    code = (
        "import sys, pathlib; from convarium.sweep.local.pool import Pool, Share\n"
        f"pool = Pool(1, ['0'], locks=pathlib.Path({str(own_directory)!r}))\n"
        "print(pool.lease(Share(1, 1, 1)).gpus, flush=True); sys.stdin.read()"
    )
    mine = Pool(1, ["0"], locks=own_directory)
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"('0',)\n"
        assert mine.lease(WHOLE) is None
        other.kill()
        other.wait()
        with lent(mine, WHOLE) as lease:
            assert lease.gpus == ("0",)


def test_a_part_of_a_gpu_that_is_named_like_a_path_can_be_locked(own_directory: Path) -> None:
    name = "MIG-GPU-5c89852c/1/0"
    one, other = (Pool(1, [name], locks=own_directory / "locks") for _ in range(2))
    with lent(one, WHOLE) as lease:
        assert lease.gpus == (name,)
        assert other.lease(WHOLE) is None


def test_the_locks_are_in_a_folder_of_the_user_alone(own_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(own_directory))
    with lent(Pool(1, ["0"]), WHOLE):
        [folder] = own_directory.iterdir()
        assert folder.name == f"convarium-{os.getuid()}"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


STEPS = st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["part", "whole", "two", "none", "back"])), max_size=40)


@given(STEPS, st.integers(1, 3))
@settings(deadline=None)
def test_whatever_two_pools_lend_no_gpu_is_given_away_twice(steps: list[tuple[int, str]], parts: int) -> None:
    shares = {"part": PART, "whole": WHOLE, "two": Share(2, 1, 2), "none": Share(0, 1, 1)}
    gpus = ["0", "1", "2"]
    with tempfile.TemporaryDirectory() as locks:
        pools = [Pool(6, gpus, parts=parts, locks=Path(locks)) for _ in range(2)]
        leases: list[list[Lease]] = [[], []]
        for number, step in steps:
            if step != "back":
                lease = pools[number].lease(shares[step])
                leases[number] += [] if lease is None else [lease]
            elif leases[number]:
                pools[number].give_back(leases[number].pop(0))
            used = [Counter(gpu for lease in held for gpu in lease.gpus * _weight(lease, parts)) for held in leases]
            assert max([0, *used[0].values(), *used[1].values()]) <= parts
            assert used[0].keys().isdisjoint(used[1])
            for pool, held in zip(pools, leases, strict=True):
                assert pool.slots == 6 - sum(lease.share.slots for lease in held) >= 0
        for pool, held in zip(pools, leases, strict=True):
            for lease in held:
                pool.give_back(lease)
        with lent(pools[0], Share(3, 1, 1)) as everything:
            assert everything.gpus == ("0", "1", "2")


def _weight(lease: Lease, parts: int) -> int:
    return 1 if lease.share.part else parts


# what a job is told


def test_a_job_is_told_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in Lease(Share(0, 3, 1), ()).environment.items():
        monkeypatch.setenv(name, value)
    assert cores() == 3


def test_a_job_is_told_its_gpus_as_cuda_calls_them_if_it_has_any() -> None:
    assert Lease(Share(0, 3, 1), ()).environment == {CORES: "3"}
    assert Lease(Share(2, 3, 1), ("1", "GPU-8f")).environment == {CORES: "3", "CUDA_VISIBLE_DEVICES": "1,GPU-8f"}


@pytest.mark.parametrize(
    ("told", "count", "found"),
    [
        (None, 0, []),
        (None, 2, ["0", "1"]),
        ("", 2, ["0", "1"]),
        ("3,1", 2, ["3", "1"]),
        ("3,-1,1", 1, ["3"]),
        ("GPU-8f,GPU-9a", 2, ["GPU-8f", "GPU-9a"]),
    ],
)
def test_the_gpus_are_those_that_this_process_was_given(
    told: str | None, count: int, found: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if told is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", told)
    assert visible_gpus(count) == found


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not say")
def test_the_memory_available_is_some_of_that_there_is() -> None:
    assert 0 < memory_available() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
