"""Small trials per hour in a sweep, against Hydra's basic launcher and against a process for each.

    python benchmarks/sweep.py [ROUNDS] [TRIALS] [FRESH]

A trial is `arch=lenet5 data=digits trainer.max_epochs=1` with all defaults, figures included, and a seed of its own.
In each round TRIALS of them run by our launcher, two at a time; by Hydra's basic launcher, one after the other in one
process on all cores; by our launcher again (control); and FRESH by `python train.py` each, one after the other. In a
sweep the time counts from the first trial's first step to the last result; what comes before is stated apart. Trials
per hour as ratios, medians over the rounds; and how long it takes, with all warm, from the last word of a job, after
which its process ends and the next is started, to the first training step of that. Exit code 1 if a limit is missed.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

BASIC, FRESH, WARM = 1.6, 15.0, 0.3  # at least, at least, at most
TRAIN = Path(__file__).resolve().parents[1] / "train.py"
TRIAL = ("arch=lenet5", "data=digits", "trainer.max_epochs=1", "trainer.accelerator=cpu")
# a callback that notes when the first step begins, and the yaml that adds it to the default ones
MARK = """
import time
from pathlib import Path
import lightning.pytorch as L

class FirstStep(L.Callback):
    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == 0:
            Path(trainer.default_root_dir, "first_step").write_text(repr(time.time()))
"""


class Sweep(NamedTuple):
    """How long a sweep took, in seconds."""

    before: float
    """From the command to the first step of the first trial."""
    trials: float
    """From there to the last result."""
    starts: list[float]
    """Of each job that found a free place: from the last word of the one before to its first step."""


def main(rounds: int, trials: int, fresh: int) -> int:
    """Measure, print, and say by the exit code whether the limits are kept."""
    with tempfile.TemporaryDirectory() as folder:
        conf = Path(folder, "conf", "callbacks")
        conf.mkdir(parents=True)
        conf.joinpath("mark.yaml").write_text("mark: {_target_: mark.FirstStep}\n")
        Path(folder, "mark.py").write_text(MARK)
        ours, control, basic, alone, starts, before = [], [], [], [], [], []
        for number in range(rounds):
            place = Path(folder, str(number))
            first, peer = sweep(place / "ours", folder, trials), sweep(place / "basic", folder, trials, basic=True)
            again = sweep(place / "again", folder, trials)
            processes = [process(place / f"fresh{k}", folder, k) for k in range(fresh)]
            ours.append(3600 * trials / first.trials)
            basic.append(ours[-1] / (3600 * trials / peer.trials))
            control.append(first.trials / again.trials)
            alone.append(ours[-1] / (3600 / statistics.fmean(processes)))
            starts += first.starts + again.starts
            before.append((first.before, peer.before))
            each = statistics.fmean(processes)
            print(
                f"round {number + 1}: {trials} trials in {first.trials:.1f} s, basic {peer.trials:.1f} s,"
                f" again {again.trials:.1f} s; a process each {each:.2f} s; load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    warm = statistics.median(starts)
    told(f"{statistics.median(ours):,.0f} trials per hour; before the first step", before)
    print(f"  ours against ours        {spread(control)}")
    print(f"  against Hydra's basic    {spread(basic)}  at least {BASIC}")
    print(f"  against a process each   {spread(alone)}  at least {FRESH}")
    print(
        f"  from start to first step {1000 * warm:.0f} ms (up to {1000 * max(starts):.0f}), at most {1000 * WARM:.0f}"
    )
    kept = statistics.median(basic) >= BASIC and statistics.median(alone) >= FRESH and warm <= WARM
    print("limits kept" if kept else "limits NOT kept")
    return 0 if kept else 1


def told(words: str, before: list[tuple[float, float]]) -> None:
    mine, peers = (statistics.median(times) for times in zip(*before, strict=True))
    print(f"{words} {mine:.1f} s, with the basic launcher {peers:.1f} s")


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):6.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def sweep(place: Path, folder: str, trials: int, *, basic: bool = False) -> Sweep:
    """Run a sweep over seeds in a new folder."""
    place.mkdir(parents=True)
    seeds = f"seed=range(1,{trials + 1})"
    launcher = ["hydra/launcher=basic"] if basic else ["sweep.name=s", "sweep.jobs=2"]
    began = time.time()
    run(["-m", *launcher, seeds], place, folder)
    runs = [path.parent for path in place.glob("runs/*/*/result.json" if basic else "sweeps/s/jobs/*/result.json")]
    results = [json.loads((path / "result.json").read_text()) for path in runs]
    assert [result["status"] for result in results] == ["ok"] * trials
    first_steps = {path.name: float((path / "first_step").read_text()) for path in runs}
    first = min(first_steps.values())
    last = max((path / "result.json").stat().st_mtime for path in runs)
    return Sweep(first - began, last - first, [] if basic else starts_of(place / "sweeps/s/jobs", first_steps))


def starts_of(jobs: Path, first_steps: dict[str, float]) -> list[float]:
    """From the last word of a job to the first step of the one that was started in its place."""
    found, ended = [], None
    for line in (jobs.parent / "manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["status"] == "ok":
            ended = (jobs / entry["job"] / "result.json").stat().st_mtime
        elif entry["status"] == "running" and ended is not None:
            found.append(first_steps[entry["job"]] - ended)
    return found


def process(place: Path, folder: str, seed: int) -> float:
    """Seconds of `python train.py`, in a new folder."""
    place.mkdir(parents=True)
    began = time.perf_counter()
    run([f"seed={seed}"], place, folder)
    return time.perf_counter() - began


def run(words: list[str], place: Path, folder: str) -> None:
    environment = {**os.environ, "CONVARIUM_TRUST": "mark", "PYTHONPATH": folder}
    command = [sys.executable, str(TRAIN), "--config-dir", f"{folder}/conf", *words, *TRIAL, "+callbacks=mark"]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    chosen = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*chosen, *(5, 64, 8)[len(chosen) :]))
