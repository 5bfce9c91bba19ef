"""What takes its time is said on a terminal, and nothing of it is left there."""

import io
import os
import pty
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import Thread

import pytest

from conftest import Outcome
from convarium.progress_bar import ERASE, Progress, doing, open_bar
from convarium.run.directory import RunDirectory

Seen = Callable[[], str]


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    """stderr is a terminal meanwhile; gives what it was sent so far."""
    sent: list[bytes] = []

    def read() -> None:
        with suppress(OSError):  # Linux says so of a terminal that is closed
            while part := os.read(ours, 65536):
                sent.append(part)

    def seen() -> str:
        time.sleep(0.1)
        return b"".join(sent).decode()

    monkeypatch.setenv("TERM", "xterm")
    ours, theirs = pty.openpty()
    reader = Thread(target=read)
    reader.start()
    with os.fdopen(theirs, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        yield seen
        monkeypatch.undo()
    reader.join()
    os.close(ours)


def test_a_terminal_is_told_every_second_what_is_done_and_nothing_of_it_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with terminal(monkeypatch) as seen:
        with doing("load torch"):
            time.sleep(2.5)
        assert seen() == f"{ERASE}load torch  0:00:01{ERASE}load torch  0:00:02{ERASE}"


def test_of_what_is_done_within_something_else_the_inner_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as seen:
        with doing("outer"):
            with doing("inner"):
                time.sleep(1.5)
            assert seen() == f"{ERASE}inner  0:00:01{ERASE}"
            time.sleep(1.0)
        assert f"{ERASE}outer  0:00:0" in seen()


def test_the_line_of_another_process_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    said = iter(("start", "", "end"))
    with terminal(monkeypatch) as seen:
        with doing(lambda: next(said, "end")):
            time.sleep(2.5)
            assert seen() == f"{ERASE}start  0:00:01"
            time.sleep(1.0)
        assert seen() == f"{ERASE}start  0:00:01{ERASE}end  0:00:01{ERASE}"
    with terminal(monkeypatch) as seen:
        with doing(lambda: ""):
            time.sleep(1.2)
        assert seen() == ""


def test_what_is_over_while_a_bar_is_drawn_leaves_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as seen, Progress() as progress:
        progress.begin(10, "pictures")
        before = seen()
        with doing("draw"):
            pass
        assert seen() == before


def test_a_bar_takes_the_place_of_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as seen:
        with doing("read"):
            with Progress() as progress:
                progress.begin(10, "pictures", "decode")
                time.sleep(2.2)
                progress.advance(10)
            said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen())
            assert "read" not in said
            assert re.search(
                r"decode: 0 of 10 pictures.*decode: 10 of 10 pictures  4\.\d a second  in 0:00:0[23]", said, re.S
            )
            time.sleep(1.2)
        assert f"{ERASE}read  0:00:03" in seen()


def test_a_bar_moves_every_second_though_nothing_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as seen, Progress() as progress:
        progress.begin(1, "batches")
        time.sleep(2.5)
        assert seen().count("0 of 1 batches") >= 3


def test_of_a_line_that_is_too_long_the_end_goes_and_not_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with terminal(monkeypatch) as seen:
        bar = open_bar(sys.stderr, transient=True)
        assert bar is not None
        facts = "loss 0.9031  val/acc1 0.5733  0:01:02 to go  191 images/s"
        bar.show(1085, 1680, facts, before="epoch 12/40  step 1,085/1,680")
        bar.close()
        said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", seen())
    assert re.search(r"epoch 12/40  step 1,085/1,680 \S{3} loss 0.9031  val/acc1 0.5733  0:01:02 to go", said)


def test_without_a_terminal_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with doing("load torch"):
        time.sleep(1.2)
    assert sys.stderr.getvalue() == ""


@pytest.mark.parametrize(("verb", "says"), [("evaluate", "10 of 10 batches"), ("predict", "2 of 2 images")])
def test_what_is_done_for_many_images_says_how_far_it_is_beside_its_answer(
    verb: str,
    says: str,
    digits_run: RunDirectory,
    convarium: Callable[..., Outcome],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from PIL import Image

    for number in range(2):
        Image.new("L", (8, 8)).save(f"{number}.png")
    monkeypatch.setattr(Progress.__init__, "__defaults__", (0.0,))
    told = convarium(verb, digits_run.path, *(["0.png", "1.png"] if verb == "predict" else []), "--json")
    assert told.code == 0
    assert says in told.err
    assert says not in told.out
