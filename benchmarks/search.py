"""What a sampler and a pruner are worth: GP against random search, and the epochs that pruning saves.

    python benchmarks/search.py [REPETITIONS] [gp|pruning ...]

gp: the best of 40 trials by GP against that of 120 by random search, on two problems. `training`: an mlp on the digits,
3 epochs of SGD; learning rate, momentum, weight decay and batch size for the lowest val/loss; two jobs at a time, whole
searches by the command line. `function`: Hartmann's function of six variables (Dixon & Szegoe 1978, lowest -3.3224),
asked one after the other. Each repetition has a seed of its own for both; what is held against a limit is the median of
the differences.

pruning: 16 points of an mlp on the digits for 27 epochs, learning rate over four decades and three ways of clipping,
drawn at random; the same points once to the end and once with search.pruner=asha search.floor=2. The median share of
epochs that was saved, and the best val/acc1 of both. Exit code 1 if a limit is missed.
"""

import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from convarium.results.search import Space, Trial
from convarium.sweep.search.sampler import Sampler

SAVED = 0.4  # of the epochs, at least
GP, RANDOM = 40, 120  # trials
TRAIN = Path(__file__).resolve().parents[1] / "train.py"
BASE = (
    "arch=mlp",
    "arch.hidden=[32]",
    "data=digits",
    "trainer.accelerator=cpu",
    "callbacks=[checkpoint]",
    "sweep.name=s",
)
TRAINING = (
    *("optimizer=sgd", "trainer.max_epochs=3", "search.objective=val/loss", "optimizer.lr=interval(1e-4,10)"),
    *("optimizer.momentum=interval(0,0.99)", "optimizer.weight_decay=interval(1e-6,0.1)"),
    "batch_size=tag(log,interval(8,256))",
)
LONGEST = 27  # epochs
PRUNED = (f"trainer.max_epochs={LONGEST}", "search.sampler=random", "search.trials=16")
PRUNED += ("optimizer.lr=interval(1e-4,1)", "clip=choice(none,norm,adaptive)")

# Hartmann's function of six variables
WEIGHTS = (1.0, 1.2, 3.0, 3.2)
SCALES = ((10, 3, 17, 3.5, 1.7, 8), (0.05, 10, 17, 0.1, 8, 14), (3, 3.5, 1.7, 10, 17, 8), (17, 8, 0.05, 10, 0.1, 14))
CENTRES = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)
AXES: Space = {f"x{n}": {"low": 0.0, "high": 1.0, "log": False, "step": None, "whole": False} for n in range(6)}


def hartmann(point: Sequence[float]) -> float:
    """Its value at a point of the unit cube."""
    inside = (
        sum(scale * (x - centre) ** 2 for scale, x, centre in zip(scales, point, centres, strict=True))
        for scales, centres in zip(SCALES, CENTRES, strict=True)
    )
    return -sum(weight * math.exp(-each) for weight, each in zip(WEIGHTS, inside, strict=True))


def best_of_function(sampler: str, trials: int, seed: int) -> float:
    """The lowest value that a sampler finds."""
    chosen, found = Sampler(sampler, AXES, ["min"], seed=seed, trials=trials), list[Trial]()
    for _ in range(trials):
        point = chosen.next(found)
        assert point is not None
        found.append(Trial(point, [], "ok", [hartmann(list(point.values()))]))
    return min(trial.values[0] for trial in found if trial.values)


def search(*words: str) -> list[dict[str, Any]]:
    """result.json of every trial of a search in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(TRAIN), "-m", "hydra/sweeper=optuna", *BASE, *words]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(done.stdout[-2000:] + done.stderr)
        return [json.loads(path.read_text()) for path in Path(folder).glob("sweeps/s/jobs/*/result.json")]


def best_of_training(sampler: str, trials: int, seed: int) -> float:
    """The lowest val/loss that a search finds."""
    found = search(*TRAINING, f"search.sampler={sampler}", f"search.trials={trials}", f"search.seed={seed}")
    return min(run["metrics"]["val/loss"] for run in found if run["status"] == "ok")


def measure_gp(repetitions: int) -> bool:
    """Print GP against random search; whether GP is at least as good on both problems."""
    good = True
    for name, best in (("function", best_of_function), ("training", best_of_training)):
        pairs, began = [], time.monotonic()
        for seed in range(1, repetitions + 1):
            pairs.append((best("gp", GP, seed), best("random", RANDOM, seed)))
            print(
                f"{name}: seed {seed}: gp of {GP} {pairs[-1][0]:.4f}, random of {RANDOM} {pairs[-1][1]:.4f}", flush=True
            )
        medians = [statistics.median(column) for column in zip(*pairs, strict=True)]
        difference = statistics.median(gp - random for gp, random in pairs)
        text = f"medians gp {medians[0]:.4f}, random {medians[1]:.4f}; difference {difference:+.4f}"
        print(f"{name}: {text} ({time.monotonic() - began:.0f} s)")
        good &= difference <= 0
    return good


def measure_pruning(repetitions: int) -> bool:
    """Print what pruning saves; whether that is enough, and nothing is lost by it."""
    shares, lost = [], []
    for seed in range(1, repetitions + 1):
        whole, pruned = (
            search(*PRUNED, f"search.seed={seed}", *more) for more in ((), ("search.pruner=asha", "search.floor=2"))
        )
        best = [
            max(run["metrics"]["best/val/acc1"] for run in runs if run["status"] == "ok") for runs in (whole, pruned)
        ]
        epochs = [sum(LONGEST * run["steps"] / run["total_steps"] for run in runs) for runs in (whole, pruned)]
        shares.append(1 - epochs[1] / epochs[0])
        lost.append(best[0] - best[1])
        number = sum(run["status"] == "pruned" for run in pruned)
        text = (
            f"epochs {epochs[0]:.0f} and {epochs[1]:.0f} ({shares[-1]:.0%} saved), best {best[0]:.4f} and {best[1]:.4f}"
        )
        print(f"pruning: seed {seed}: {number} of {len(pruned)} pruned, {text}", flush=True)
    share, loss = statistics.median(shares), statistics.median(lost)
    print(f"pruning: {share:.0%} of the epochs saved, {loss:.4f} of val/acc1 lost (medians of {repetitions})")
    return share >= SAVED and loss <= 0


if __name__ == "__main__":
    number = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    parts = {"gp": measure_gp, "pruning": measure_pruning}
    good = [parts[name](number) for name in sys.argv[2:] or parts]  # all of them are measured
    sys.exit(not all(good))
