"""The table of running jobs at the foot of a terminal: it fits, and nothing of it is left."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from threading import Thread

import pytest
from rich.cells import cell_len

from convarium.results.outlook import Standing
from convarium.sweep.live_table import lines
from convarium.sweep.outlook import Shown

NAMES = ("optimizer.lr=0.1 norm=batch", "optimizer.lr=0.01 norm=日本語", "data=\x1b[31mred [bold]x[/bold]")


def shown(number: int) -> Shown:
    jobs = [Standing(NAMES[k % 3], 100.0, 0.25, k + 1, 40, "val/acc1", 0.5) for k in range(number)]
    return Shown(jobs, 12, 48, 1200, 2, "0:41:10 to go")


@pytest.mark.parametrize("width", [200, 80, 50, 30, 20, 8])
@pytest.mark.parametrize("height", [40, 10, 3, 1])
def test_no_line_is_wider_than_the_terminal_and_all_of_them_fit(width: int, height: int) -> None:
    drawn = [line.plain for line in lines(shown(24), width, height)]
    assert max(map(cell_len, drawn)) < width
    assert len(drawn) <= max(1, height - 1)
    assert "\x1b" not in "".join(drawn)


def test_at_80_columns_it_says_all_and_how_many_have_no_room() -> None:
    drawn = [line.plain for line in lines(shown(24), 80, 6)]
    assert re.fullmatch("job +epoch +val/acc1 +to go", drawn[0])
    assert re.fullmatch("lr=0.1 norm=batch +━{6}─{18} +1/40 +0.5000 +0:05:00", drawn[1])
    assert drawn[-2] == "... and 22 more"
    assert re.fullmatch(r"\[12/48\]  ━+─+  24 running  0:41:10 to go  2 failed  1,200 waiting", drawn[-1])


class Screen:
    """What a terminal shows that breaks lines anew when its width changes, with all that has scrolled away."""

    def __init__(self, width: int) -> None:
        self.width, self.text, self.at = width, [""], (0, 0)

    def resize(self, width: int) -> None:
        below = self.text[self.at[0] + 1 :]
        assert not any(below)
        del self.text[self.at[0] + 1 :]
        self.width = width
        self.text = [line[k : k + width] for line in self.text for k in range(0, max(1, len(line)), width)]
        self.at = len(self.text) - 1, len(self.text[-1])

    def feed(self, sent: str) -> None:
        for part in re.findall(r"\x1b\[[?0-9;]*[A-Za-z]|[^\x1b]", sent):
            row, column = self.at
            if part == "\r":
                self.at = row, 0
            elif part == "\n":
                self.at = row + 1, 0  # the terminal's driver has put a \r before it
                self.text += [""] * (row + 2 - len(self.text))
            elif part.endswith("A") and part[0] == "\x1b":
                self.at = max(0, row - int(part[2:-1] or 1)), column
            elif part in ("\x1b[2K", "\x1b[K"):
                self.text[row] = "" if part == "\x1b[2K" else self.text[row][:column]
            elif part[0] != "\x1b":
                self.text[row] = self.text[row][:column].ljust(column) + part + self.text[row][column + 1 :]
                self.at = row, column + 1

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.text]


DRAW = """
import os, sys, time
from convarium.results.outlook import Standing
from convarium.sweep.outlook import Shown
from convarium.sweep.run import live_table, say
jobs = [Standing(f"optimizer.lr=0.{k} norm=batch", 100.0, 0.25, 3, 40, "val/acc1", 0.5) for k in range(1, 6)]
with live_table() as show:
    show(Shown(jobs, 1, 9, 3, 0, "0:41:10 to go"))
    say("one has ended")
    show(Shown(jobs[1:], 2, 9, 3, 0, "0:41:09 to go"))
    sys.stdin.readline()
    say("two has ended")
    show(Shown(jobs[2:], 3, 9, 3, 0, "0:41:08 to go"))
    sys.stdin.readline()
    before = time.process_time()
    for _ in range(20):
        show(Shown(jobs, 3, 9, 3, 0, "0:41:08 to go"))
    took = (time.process_time() - before) / 20
say(f"cost {took:.6f}")
"""


@pytest.fixture
def play() -> Callable[..., tuple[Screen, str]]:
    """Run DRAW on a terminal of 80 columns, then of `width`."""

    def run(width: int) -> tuple[Screen, str]:
        ours, theirs = pty.openpty()
        _resize(theirs, 80)
        screen, sent = Screen(80), list[str]()
        pipes = {"stdin": subprocess.PIPE, "stdout": theirs, "stderr": theirs}
        environment = {**os.environ, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"}
        environment = {key: value for key, value in environment.items() if key not in ("COLUMNS", "LINES")}

        def read() -> None:
            import codecs

            decoder = codecs.getincrementaldecoder("utf-8")()
            while True:
                try:
                    part = os.read(ours, 65536)
                except OSError:
                    return
                if not part:
                    return
                sent.append(decoder.decode(part))
                screen.feed(sent[-1])

        with subprocess.Popen([sys.executable, "-c", DRAW], env=environment, **pipes) as process:  # type: ignore[call-overload]
            os.close(theirs)
            reader = Thread(target=read)
            reader.start()
            assert process.stdin is not None
            _wait(lambda: "0:41:09" in "".join(sent))
            time.sleep(0.1)
            _resize(ours, width)
            screen.resize(width)
            process.stdin.write(b"\n")
            process.stdin.flush()
            _wait(lambda: "0:41:08" in "".join(sent))
            process.stdin.write(b"\n")
            process.stdin.close()
            process.wait(20)
        reader.join()
        os.close(ours)
        return screen, "".join(sent)

    return run


def _resize(terminal: int, width: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))


def _wait(is_so: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("width", [45, 120])
def test_of_a_table_that_was_drawn_in_another_width_nothing_is_left(
    play: Callable[..., tuple[Screen, str]], width: int
) -> None:
    screen, sent = play(width)
    said, cost = screen.lines[:2], screen.lines[2]
    assert said == ["one has ended", "two has ended"]
    assert cost.startswith("cost ")
    assert not any(screen.lines[3:])
    assert "━" in sent
    assert sent.count("\x1b[?25l") == sent.count("\x1b[?25h")  # the cursor is back
    assert float(cost.split()[1]) < 0.01  # seconds of each second
