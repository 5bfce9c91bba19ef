"""A run passes few functions, once each, in one direction: those that docs/architecture.md draws."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
SPINE = ("cli.py", "commands/train.py", "config/compose.py", "run/prepare.py", "run/launch.py", "run/fit.py")
TRACE = """
import inspect, json, sys
from pathlib import Path
import convarium
package, spine = Path(convarium.__file__).parent, json.loads(sys.argv.pop(1))
files = {str(package / name): name for name in spine}
hops = []

def is_step(code):  # no module or class body, no lambda or comprehension, no property
    return code.co_flags & inspect.CO_OPTIMIZED and "<" not in code.co_name and code.co_name != "placement"

def note(frame, event, arg):
    if event == "call" and (file := files.get(frame.f_code.co_filename)) and is_step(frame.f_code):
        caller = frame.f_back
        while caller is not None and caller.f_code.co_filename not in files:
            caller = caller.f_back
        if caller is None or files[caller.f_code.co_filename] != file:
            hop = f"{file}:{frame.f_code.co_name}"
            hops.extend([] if hop in hops else [hop])

from convarium.cli import train
sys.setprofile(note)
try:
    train()
except SystemExit as end:
    sys.setprofile(None)
    Path("hops.json").write_text(json.dumps(hops))
    sys.exit(end.code)
"""
RUN = [
    "cli.py:train",
    "commands/train.py:run",
    "config/compose.py:complete",
    "run/prepare.py:adapt_to_weights",
    "run/prepare.py:prepare",
    "run/launch.py:launch",
    "run/fit.py:assemble",
    "run/fit.py:fit",
]


def hops_of(*words: str) -> list[str]:
    """Each call from one file of the spine into another, in order."""
    done = subprocess.run([sys.executable, "-c", TRACE, json.dumps(SPINE), *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return list(json.loads(Path("hops.json").read_text()))


def test_a_run_is_at_most_ten_hops_and_none_goes_back(own_directory: Path) -> None:
    words = ("arch=mlp", "trainer.max_steps=2", "trainer.accelerator=cpu", "threads=1", "callbacks=[checkpoint]")
    fresh = hops_of(*words, "run_dir=run", "trainer.max_epochs=1")
    assert fresh == RUN
    assert len(fresh) <= 10
    resumed = hops_of("resume=run", "trainer.max_steps=4")
    assert resumed == [*RUN[:2], "config/compose.py:compose", "config/compose.py:check_config", *RUN[4:]]
