"""How long the front door takes to answer, against a bare Hydra application's --help.

    python benchmarks/startup.py [ROUNDS]

The commands alternate, each in a new process; medians, and their ratio to the bare --help. Exit code 1 if
`train.py --help` or a misspelt option takes more than 2.5 times as long.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 2.5
TRAIN = Path(__file__).resolve().parents[1] / "train.py"
BARE = """
import hydra

@hydra.main(version_base="1.3", config_path=".", config_name="bare")
def main(cfg):
    pass

main()
"""


def seconds(command: list[str], cwd: str) -> float:
    """Wall time of a command in a new process."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True)
    return time.perf_counter() - start


def main(rounds: int) -> int:
    """Measure, print the table, and say by the exit code whether the limit is kept."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "bare.py").write_text(BARE)
        (Path(folder) / "bare.yaml").write_text("lr: 0.1\n")
        train = str(TRAIN)
        commands = {
            "bare --help": ["bare.py", "--help"],
            "bare --help again (control)": ["bare.py", "--help"],
            "train.py --help": [train, "--help"],
            "train.py --multirn": [train, "--multirn"],
            "train.py norm=bach": [train, "norm=bach"],
            "train.py optimizer.lrr=1": [train, "optimizer.lrr=1"],
            "train.py seed=abc": [train, "seed=abc"],
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for command in commands.values():  # bytecode and file caches
            seconds(command, folder)
        for _ in range(rounds):
            for name, command in commands.items():
                times[name].append(seconds(command, folder))
    bare = statistics.median(times["bare --help"])
    print(f"median of {rounds} alternating rounds, seconds and ratio to the bare --help")
    kept = True
    for name, taken in times.items():
        ratio = statistics.median(taken) / bare
        kept &= ratio <= LIMIT
        print(f"  {name:28}  {statistics.median(taken):5.2f}  {ratio:5.2f}")
    print(f"limit {LIMIT}: {'kept' if kept else 'NOT kept'}")
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 9))
