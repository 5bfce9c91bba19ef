"""`convarium anatomy`: words in, a table, a page or a picture out."""

import csv
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from archs.catalog import stated
from convarium.config.catalog import architectures, members

Convarium = Callable[..., Any]


def test_a_network_is_shown_as_published_unless_words_say_otherwise(convarium: Convarium) -> None:
    shown = json.loads(convarium("anatomy", "arch=resnet20", "memory=false", "--json").out)
    assert shown["title"][0] == "ResNet-20: 3x32x32, 10 classes (as published)"
    assert (shown["total"]["parameters"], shown["total"]["multiply_adds"]) == (269_722, 40_551_040)
    assert "0.27 M" in shown["title"][1]
    small = json.loads(
        convarium("anatomy", "arch=resnet20", "memory=false", "norm=none", "data.image_size=16", "--json").out
    )
    assert small["title"][0] == "resnet20: 3x16x16, 10 classes (changed: norm=none)"
    assert "; the paper's ResNet-20 (He et al. 2015), at 3x32x32, 10 classes: parameters 0.27 M" in small["title"][1]
    assert small["total"]["parameters"] < 269_722
    assert small["total"]["multiply_adds"] < 40_551_040
    digits = json.loads(convarium("anatomy", "arch=resnet20", "memory=false", "data=mnist", "--json").out)
    assert digits["rows"][0]["output"] == "1x32x32"


def test_the_memory_of_a_step_is_of_the_experiments_batch_and_optimizer(convarium: Convarium) -> None:
    def lines(*words: str) -> list[str]:
        answer = convarium("anatomy", "arch=lenet5", "format=json", *words)
        return [line for line in json.loads(answer.out)["title"] if line.startswith("training")]

    own, other = lines(), lines("batch_size=64", "optimizer=sgd")
    assert [line.partition(":")[0] for line in own] == [f"training, batch_size=32, {p}" for p in ("fp32", "bf16, fp16")]
    assert "optimizer 494 kB" in own[0]
    assert "batch_size=64" in other[0]
    assert "optimizer 247 kB" in other[0]


def test_networks_side_by_side_are_a_table_and_a_picture(convarium: Convarium, tmp_path: Path) -> None:
    answer = convarium("anatomy", "arch=lenet5,resnet20", "format=csv", "figure=a.png")
    rows = list(csv.DictReader(io.StringIO(answer.out)))
    assert [(row["name"], int(row["parameters"])) for row in rows] == [
        (n, stated(n).parameters) for n in ("lenet5", "resnet20")
    ]
    assert (tmp_path / "a.png").is_file()
    assert rows[1]["depth"] == "20"
    assert not (tmp_path / "anatomy.png").exists()


def test_what_is_not_the_papers_network_does_not_stand_beside_its_numbers(convarium: Convarium, tmp_path: Path) -> None:
    def title(*words: str) -> list[str]:
        answer: list[str] = json.loads(convarium("anatomy", "memory=false", "--json", *words).out)["title"]
        return answer

    small = title("arch=alexnet", "data.image_size=32", "data.num_classes=10")
    assert small[0] == "alexnet: 3x32x32, 10 classes (as the words say)"
    assert "the paper's AlexNet (Krizhevsky et al. 2012), at 3x224x224, 1,000 classes: parameters 60 M" in small[1]
    assert small[2] == "not the paper's stem but the small one: arch.stem=auto at up to 64 pixels"
    other = title("arch=mlp", "arch.hidden=[50,20]")
    assert other[0] == "mlp: 1x28x28, 10 classes (changed: arch.hidden=[50,20])"
    assert not any("paper" in line for line in (*other, *title("arch=lenet5")))
    answer = json.loads(convarium("anatomy", "arch=lenet5_1998,resnet20", "norm=batch", "--json").out)
    assert [row["top1_error"] for row in answer["rows"]] == [None, None]
    assert answer["notes"][-1] == "Not as published, so without the paper's errors: lenet5_1998, resnet20."


def test_errors_stand_beside_the_data_set_they_are_of(convarium: Convarium) -> None:
    rows = json.loads(convarium("anatomy", "arch=lenet5,lenet5_1998,resnet20,alexnet", "--json").out)["rows"]
    assert [row["errors_on"] for row in rows] == [None, "mnist", "cifar10", "imagenet"]


def test_every_published_error_names_its_data_set() -> None:
    for name, one in architectures().items():
        if one.published.top1_error or one.published.top5_error:
            assert one.published.data_set(members("data")), name


def test_a_page_is_whole_and_markdown_a_table(convarium: Convarium) -> None:
    page = convarium("anatomy", "arch=lenet5", "memory=false", "format=html").out
    assert page.startswith("<!doctype html>")
    assert page.index("diagram of lenet5") < page.index("<table>")
    assert page.rstrip().endswith("</html>")
    assert "| conv | 5/1/0 | 6x28x28 |" in convarium("anatomy", "arch=lenet5", "memory=false", "format=md").out


def test_effective_receptive_fields_are_drawn(convarium: Convarium, tmp_path: Path) -> None:
    answer = convarium("anatomy", "arch=lenet5", "memory=false", "--effective", "seed=3")
    assert answer.code == 0
    assert answer.out.rstrip().endswith("lenet5-effective.png")
    assert "receptive fields of units in the middle, weights: initial, not trained, seed=3" in answer.out
    assert re.search(r"\n  c1.activation: theoretical 5x5, measured [1-5]x[1-5]\n", answer.out)
    found = json.loads(convarium("anatomy", "arch=lenet5", "memory=false", "--effective", "seed=3", "--json").out)
    first = found["effective"]["fields"][0]
    assert (first["layer"], first["theoretical"]) == ("c1.activation", [5, 5])
    assert 0 < first["measured"] <= 5
    assert (tmp_path / "lenet5-effective.png").is_file()


def test_the_network_of_a_run_is_shown(convarium: Convarium, digits_run: Any) -> None:
    answer = json.loads(convarium("anatomy", digits_run.path, "memory=false", "--json").out)
    assert answer["title"][0].endswith(f"(of {digits_run.path})")
    assert answer["total"]["parameters"] == digits_run.result()["params"]


def test_a_network_that_the_loss_does_not_fit_is_shown_all_the_same(convarium: Convarium) -> None:
    answer = convarium("anatomy", "arch=lenet5", "data.num_classes=1", "--json")
    [line] = [line for line in json.loads(answer.out)["title"] if line.startswith("training")]
    assert line.startswith("training: no memory predicted; loss=cross_entropy: ")
    assert line.endswith("loss=bce is its form for binary data")


def test_what_is_no_config_of_a_run_is_said_in_a_line(convarium: Convarium, digits_run: Any) -> None:
    Path("other").mkdir()
    text = digits_run.config_file.read_text()
    Path("other/config.yaml").write_text(text.replace("\nloss:", "\nlost:", 1))
    answer = convarium("anatomy", "other")
    assert (answer.code, answer.err.count("\n")) == (2, 1)
    assert "config.yaml: not the config of a run (it lacks loss)" in answer.err


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder in which nobody may write")
@pytest.mark.parametrize("word", ["diagram=/proc/a.svg", "figure=/proc/a.png"])
def test_a_picture_that_cannot_be_written_is_one_line(convarium: Convarium, word: str) -> None:
    effective = ["--effective"] if word.startswith("figure") else []
    answer = convarium("anatomy", "arch=lenet5", "memory=false", word, *effective)
    assert answer.code == 2
    assert answer.err == f"error: {word}: cannot be written (No such file or directory)\n"


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["arch=lenet6"], "arch=lenet6: unknown; did you mean 'lenet5'?"),
        ([], "arch: none given; usage: convarium anatomy"),
        (["arch=lenet5", "nor=batch"], "nor: has no part in the anatomy; did you mean 'norm'?"),
        (["arch=lenet5", "norm=bach"], "norm=bach: unknown; did you mean 'batch'?"),
        (["arch=vgg16", "data.image_size=8"], "data.image_size=8: too small"),
        (["arch=lenet5", "optimizer.lr=3"], "optimizer.lr: has no part in the anatomy"),
        (["arch=lenet5", "--effectiv"], "--effectiv: unknown option; did you mean '--effective'? Accepted: --memory, "),
        (["arch=lenet5", "seed=1"], "seed: has a part in effective=true only"),
        (
            ["arch=lenet5,mlp", "batch_size=8"],
            "batch_size: has a part in the memory of one network's training step only",
        ),
        (["arch=lenet5,mlp", "level=layers"], "level=layers: of one network; here are 2"),
        (["arch=lenet5", "figure=a.png"], "figure=a.png: of several networks, or with effective=true"),
        (["arch=mlp", "memory=false", "--effective"], "effective=true: mlp has no maps"),
        (["arch=lenet5,mlp", "figure=a.pdf"], "figure=a.pdf: accepted: a file NAME.png"),
        (["arch=lenet5,mlp", "figure=no/a.png"], "figure=no/a.png: no folder no"),
        (["arch=lenet5,mlp", "figure=/proc/a.png"], "figure=/proc/a.png: cannot be written ("),
        (["arch=lenet5", "--effective", "figure=/proc/a.png"], "figure=/proc/a.png: cannot be written ("),
        (["arch=lenet5", "diagram=/proc/a.svg"], "diagram=/proc/a.svg: cannot be written ("),
    ],
)
def test_what_cannot_be_shown_is_one_line(convarium: Convarium, words: list[str], error: str, tmp_path: Path) -> None:
    answer = convarium("anatomy", *words)
    assert answer.code == 2
    assert answer.err.startswith(f"error: {error}")
    assert answer.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_network_is_drawn_as_its_words_make_it(convarium: Convarium, tmp_path: Path) -> None:
    answer = convarium(
        "anatomy", "arch=lenet5", "norm=batch", "diagram=a.svg", "level=layers", "--explain", "memory=false"
    )
    assert answer.out.splitlines()[-1] == "a.svg"
    drawn = (tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "lenet5: 1x32x32, 10 classes (changed: norm=batch)" in drawn
    assert drawn.count(">BatchNorm2d<") == 3
    assert "The same small window at all places" in drawn
    convarium("anatomy", "arch=lenet5", "diagram=b.svg", "memory=false")
    short = (tmp_path / "b.svg").read_text(encoding="utf-8")
    assert "BatchNorm2d" not in short
    assert "The same small window" not in short


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["arch=lenet5", "diagram=a.gif"], "diagram=a.gif: accepted: a file NAME.svg, NAME.png, NAME.pdf, NAME.html"),
        (["arch=lenet5", "diagram=none/a.svg"], "diagram=none/a.svg: no folder none"),
        (["arch=lenet5,mlp", "diagram=a.svg"], "diagram=a.svg: of one network; here are 2"),
        (["arch=lenet5", "explain=true"], "explain=true: in a diagram; write diagram=NAME.svg beside it"),
    ],
)
def test_a_diagram_that_cannot_be_is_refused_before_anything_is_made(
    convarium: Convarium, tmp_path: Path, words: list[str], message: str
) -> None:
    answer = convarium("anatomy", *words)
    assert answer.code == 2
    assert message in answer.err
    assert list(tmp_path.iterdir()) == []
