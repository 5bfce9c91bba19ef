"""The first 20 losses of every architecture, bit for bit: what a change of the code has to leave as it was.

    python tests/numerics.py [--against FILE] [ARCH ...]

Each member of conf/arch trains 20 steps on small synthetic images in one thread on the CPU, through the whole platform
(data, learner, optimizer, schedule, clipping). A line is the name and the losses, float32 in hexadecimal. With
`--against FILE`, an earlier output of the same machine, the lines that differ are named and the exit code is 1.
"""

import argparse
import contextlib
import csv
import io
import struct
import sys
import tempfile
from pathlib import Path

from convarium.config.catalog import members
from convarium.config.compose import compose
from convarium.run.launch import launch
from convarium.run.prepare import prepare

STEPS = 20
SET_UP = (
    "data=synthetic",
    "data.val_fraction=0",
    "batch_size=8",
    "augment=crop_flip",
    "threads=1",
    "trainer=cpu",
    f"trainer.max_steps={STEPS}",
    "trainer.log_every_n_steps=1",
    "trainer.limit_test_batches=1",
    "callbacks=[]",
    "test.weights=last",
)


def losses(arch: str, folder: Path) -> list[float]:
    """The training loss of each step."""
    run = folder / arch
    overrides = [f"arch={arch}", *SET_UP, f"run_dir={run}"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = launch(prepare(compose(overrides).config), overrides)
    if code:
        sys.exit(f"{arch}: exit code {code}\n{said.getvalue()}")
    with (run / "metrics.csv").open(encoding="utf-8", newline="") as rows:
        return [float(row["train/loss_step"]) for row in csv.DictReader(rows) if row.get("train/loss_step")]


def line(arch: str, values: list[float]) -> str:
    """A name and float32 numbers, every bit of them."""
    return " ".join([arch, *(struct.pack(">f", value).hex() for value in values)])


def main() -> int:
    """Print a line for each architecture; 1 if one is not that of the other file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arch", nargs="*", help="these only")
    parser.add_argument("--against", type=Path, metavar="FILE", help="an earlier output to compare with")
    arguments = parser.parse_args()
    known = list(members("arch"))
    if unknown := sorted(set(arguments.arch) - set(known)):
        parser.error(f"{unknown[0]}: unknown architecture. One of: {', '.join(known)}")
    before = arguments.against.read_text(encoding="utf-8").splitlines() if arguments.against else []
    expected = {name: rest for name, _, rest in (text.partition(" ") for text in before)}
    differ = []
    with tempfile.TemporaryDirectory() as folder:
        for arch in arguments.arch or known:
            values = losses(arch, Path(folder))
            assert len(values) == STEPS, f"{arch}: {len(values)} losses"
            text = line(arch, values)
            print(text, flush=True)
            if expected and text.partition(" ")[2] != expected.get(arch):
                differ.append(arch)
    if differ:
        print(f"not as in {arguments.against}: {', '.join(differ)}", file=sys.stderr)
    return 1 if differ else 0


if __name__ == "__main__":
    sys.exit(main())
