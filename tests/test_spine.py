"""A run passes few functions, once each, in one direction: those that docs/architecture.md draws."""

import inspect
import json
import sys
from pathlib import Path
from types import CodeType, FrameType

import convarium
import processes

SPINE = ("cli.py", "commands/train.py", "config/compose.py", "run/prepare.py", "run/launch.py", "run/fit.py")
FILES = {str(Path(convarium.__file__).parent / name): name for name in SPINE}
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


def is_step(code: CodeType) -> bool:
    """No module or class body, no lambda or comprehension, no property."""
    return bool(code.co_flags & inspect.CO_OPTIMIZED) and "<" not in code.co_name and code.co_name != "placement"


def train_traced(*words: str) -> int:
    """`python train.py WORDS`, which writes down each call from one file of the spine into another, in order."""
    hops: list[str] = []

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and (file := FILES.get(frame.f_code.co_filename)) and is_step(frame.f_code):
            caller = frame.f_back
            while caller is not None and caller.f_code.co_filename not in FILES:
                caller = caller.f_back
            if caller is None or FILES[caller.f_code.co_filename] != file:
                hop = f"{file}:{frame.f_code.co_name}"
                hops.extend([] if hop in hops else [hop])

    sys.setprofile(note)
    code = processes.train(*words)
    sys.setprofile(None)
    Path("hops.json").write_text(json.dumps(hops))
    return code


def hops_of(*words: str) -> list[str]:
    """What `train_traced` wrote, of a run in a process of its own."""
    log = Path("log")
    assert processes.run(train_traced, *words, log=log) == 0, log.read_text()
    return list(json.loads(Path("hops.json").read_text()))


def test_a_run_is_at_most_ten_hops_and_none_goes_back(own_directory: Path) -> None:
    words = ("arch=mlp", "trainer.max_steps=2", "trainer.accelerator=cpu", "threads=1", "callbacks=[checkpoint]")
    fresh = hops_of(*words, "run_dir=run", "trainer.max_epochs=1")
    assert fresh == RUN
    assert len(fresh) <= 10
    resumed = hops_of("resume=run", "trainer.max_steps=4")
    assert resumed == [*RUN[:2], "config/compose.py:compose", "config/compose.py:check_config", *RUN[4:]]
