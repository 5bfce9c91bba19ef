"""`convarium explain`: what a person sees, what a program gets, what is refused."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest

from convarium.anatomy.explain.reasoning import Reasoning
from convarium.anatomy.explain.topic import Key, Topic, topics
from convarium.commands.completion import candidates

Command = Callable[..., Any]
DOCS = (Path(__file__).parents[2] / "docs" / "anatomy.md").read_text(encoding="utf-8").partition("## Explain")[2]


def test_alone_it_lists_the_topics(convarium: Command) -> None:
    lines = convarium("explain").out.splitlines()
    assert [line.split()[0] for line in lines[:-2]] == list(topics())
    asked_for = {
        "stack",
        "bottleneck",
        "output_size",
        "padding",
        "lrn",
        "batch_norm",
        "pooling",
        "loss",
        "dropout",
        "perceptron",
    }
    assert asked_for <= set(topics())
    assert json.loads(convarium("explain", "--json").out)["stack"] == topics()["stack"].paragraphs[0]


def test_an_answer_goes_from_the_formula_to_its_source(convarium: Command) -> None:
    assert convarium("explain", "stack", "layers=2").out == (
        "stack: Small windows in a stack against one large window\n"
        "  layers=2 kernel_size=3 channels=256\n"
        "\n"
        "  the stack sees a square with the side:\n"
        "    1 + layers × (kernel_size - 1) = 1 + 2 × (3 - 1) = 5\n"
        "  its weights in units of C²:\n"
        "    layers × kernel_size² = 2 × 3² = 18\n"
        "  those of one window of that side:\n"
        "    receptive_field² = 5² = 25\n"
        "  the stack has fewer by:\n"
        "    100 × (1 - stack_per_c2 / single_per_c2) = 100 × (1 - 18 / 25) = 28 %\n"
        "  or: the window has more by:\n"
        "    100 × (single_per_c2 / stack_per_c2 - 1) = 100 × (25 / 18 - 1) = 38.8889 %\n"
        "  weights of the stack:\n"
        "    stack_per_c2 × channels² = 18 × 256² = 1,179,648\n"
        "  weights of the window:\n"
        "    single_per_c2 × channels² = 25 × 256² = 1,638,400\n"
        "    layers  see  have  one window has  fewer by\n"
        "         2  5x5  18C²            25C²       28%\n"
        "\n"
        "Why: they see as much with fewer weights, and have activations in between, so\n"
        "that they tell more apart. VGG-B with each pair of 3x3 windows made one of 5x5\n"
        "has a top-1 error 7 % higher (section 4.1).\n"
        "\n"
        "Source: Simonyan & Zisserman 2014, section 2.3\n"
    )


@pytest.mark.parametrize("name", ["", *topics()])
@pytest.mark.parametrize("columns", [60, 80, 200])
def test_no_line_is_wider_than_the_terminal_or_than_is_read_with_ease(
    convarium: Command, monkeypatch: pytest.MonkeyPatch, name: str, columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = convarium("explain", *filter(None, [name])).out.splitlines()
    foldable = [line for line in lines if len(line.split()) > 1 and (columns >= 80 or "  " not in line.strip())]
    assert max(map(len, foldable)) <= min(columns, 100)  # no tables at 60 columns


def test_a_program_gets_the_numbers_by_name(convarium: Command) -> None:
    answer = json.loads(convarium("explain", "bottleneck", "reduced=32", "--json").out)
    assert (answer["topic"], answer["given"]["reduced"], answer["given"]["size"]) == ("bottleneck", 32, 14)
    assert answer["results"]["bottleneck_weights"] == 480 * 32 + 25 * 32 * 48
    assert answer["source"].startswith("Szegedy et al. 2014")
    undefined = json.loads(convarium("explain", "lrn", "maps=[0,0,1]", "format=json").out)["results"]
    assert undefined["normalized"] == [None, 0, 1] or undefined["normalized"][0] is None
    assert "NaN" not in json.dumps(undefined)


def test_help_lists_the_keys_of_a_topic(convarium: Command) -> None:
    shown = convarium("explain", "dropout", "--help").out
    assert shown.startswith("usage: convarium explain dropout [key=value ...]\n")
    assert "\n  p=...              a probability; a number from 0 to 1; default 0.5\n" in shown
    assert "\n  p_means=drop|keep " in shown
    assert convarium("explain", "--help", "dropout").out == shown
    assert "keys of the topic" in convarium("explain", "--help").out


@pytest.mark.parametrize("name", topics())
def test_the_example_in_the_help_of_a_topic_is_an_answer(convarium: Command, name: str) -> None:
    example = convarium("explain", name, "--help").out.rpartition("example: convarium ")[2]
    assert convarium(*shlex.split(example)).out == convarium("explain", name).out


def test_keys_may_be_written_with_dashes_and_spaces_in_lists(convarium: Command) -> None:
    assert convarium("explain", "stack", "--kernel-size", "5").out == convarium("explain", "stack", "kernel_size=5").out
    plain, spaced = "image=[[1,2],[3,4]]", "image=[[1, 2], [3, 4]]"
    assert convarium("explain", "pooling", plain).out == convarium("explain", "pooling", spaced).out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("stak", "stak: unknown; did you mean 'stack'? One of: "),
        ("layers=2", "layers=2: of which topic? One of: "),
        (
            "stack layres=2",
            "layres: not accepted; did you mean 'layers'? One of: layers, kernel_size, channels, format",
        ),
        ("stack layers=x", "layers=x: expected a whole number from 2 to 50"),
        ("stack lrn", "lrn: one too many; usage: convarium explain stack [key=value ...]"),
        ("dropout p_means=kep", "p_means=kep: unknown; did you mean 'keep'? One of: drop, keep"),
        ("pooling image=[1,2]", "image=[1,2]: expected rows of numbers, [[1,2],[3,4]], from -1,000,000 to 1,000,000"),
        ("loss before=0", "before=0: expected a number from 1e-12 to 1"),
    ],
)
def test_what_cannot_be_is_one_line_with_what_is_accepted(convarium: Command, words: str, says: str) -> None:
    code, out, err = convarium("explain", *words.split())
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {says}")


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("convarium explain bott", ["bottleneck"]),
        ("convarium explain dropout ", ["p=", "p_means=", "units=", "format="]),
        ("convarium explain dropout p=0.2 u", ["units="]),
        ("convarium explain dropout p_means=", ["p_means=drop", "p_means=keep"]),
    ],
)
def test_topics_and_their_keys_are_completed(line: str, offered: list[str]) -> None:
    assert candidates(line) == offered


def test_an_answer_needs_no_torch() -> None:
    code = (
        "import sys; from convarium.cli import run_verb;"
        "[run_verb(['explain', *name]) for name in ([], ['stack'], ['output_size'], ['memory', '--help'])];"
        "assert not {'torch', 'numpy', 'hydra'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60, stdout=subprocess.DEVNULL)


# docs/anatomy.md


@pytest.mark.parametrize("command", re.findall(r"^convarium (explain[^#\n]*)", DOCS, re.MULTILINE))
def test_every_command_of_the_page_answers(convarium: Command, command: str) -> None:
    code, out, err = convarium(*shlex.split(command))
    assert (code, err) == (0, "")
    assert out


def test_what_the_page_shows_is_what_is_printed(convarium: Command) -> None:
    [(command, shown)] = re.findall(r"^\$ convarium (explain.*)\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)
    printed = iter(convarium(*command.split()).out.splitlines())
    assert [line for line in shown.splitlines() if line.strip() != "..." and line not in printed] == []


def test_the_table_of_the_page_has_every_topic() -> None:
    cells = re.findall(r"^\| (`.*?) \|", DOCS, re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", " ".join(cells))) == sorted(topics())


def test_the_topic_that_the_page_adds_answers() -> None:
    [code] = re.findall(r"^```python\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)
    scope: dict[str, Any] = {"Annotated": Annotated, "Key": Key, "Reasoning": Reasoning}
    exec(code, scope)
    assert Topic(scope["weight_decay"]).explain({}).results == {"left": pytest.approx((1 - 5e-6) ** 10000)}
