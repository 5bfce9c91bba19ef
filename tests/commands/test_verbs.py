"""The verbs on a run as the command line has them: words in, lines and an exit code out."""

import csv
import hashlib
import io
import json
import shutil
import signal
import struct
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from convarium.cli import VERBS, find_verb
from convarium.commands.words import FORMAT, Option, Verb, Words
from convarium.errors import ConfigError
from convarium.run.directory import RunDirectory


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "a, b.png"
    Image.new("L", (8, 8), 100).save(path)
    return path


# Words


VERB = Verb(
    name="try",
    meaning="try it",
    run=lambda words: None,
    positions="RUN",
    options={"weights": Option("which weights", ("best", "last")), "output": Option("the file"), "format": FORMAT},
    overrides="keys of data",
    example="convarium try RUN output=FILE",
)


def test_the_words_of_a_verb_are_sorted(tmp_path: Path) -> None:
    (tmp_path / "a=b").touch()
    words = VERB.read(["weights=best", "data.val_fraction=0.5", "a=b", "weights=last", "output=a=b", "--json"])
    options = {"weights": "last", "output": "a=b", "format": "json"}
    assert words == Words(["a=b"], options, ["data.val_fraction=0.5"], {"format": "text"})
    assert (words.value("format"), VERB.read([]).value("format")) == ("json", "text")
    assert replace(VERB, positions="").read(["run"]).overrides == ["run"]  # which Hydra refuses


def test_a_value_may_be_longer_than_the_name_of_any_file() -> None:
    word = f"data.mean=[{'0.5,' * 300}0.5]"
    assert VERB.read(["run", word, f"output={'x' * 5000}"]).overrides == [word]


def test_an_option_may_be_written_with_dashes() -> None:
    words = VERB.read(["run", "--weights", "best", "--output=a", "--data.root=b", "--batch-size=2"])
    assert (words.positions, words.options) == (["run"], {"weights": "best", "output": "a"})
    assert words.overrides == ["data.root=b", "batch_size=2"]
    with pytest.raises(ConfigError, match=r"^--output: expected a value; write output=VALUE$"):
        VERB.read(["run", "--output"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["weights=bets"], "weights=bets: unknown; did you mean 'best'? One of: best, last"),
        (["outptu=a"], "outptu: not accepted; did you mean 'output'? One of: weights, output, format"),
        (["--fast"], "--fast: unknown option. Accepted: --json, --help"),
        (["run", "other"], "other: one too many; usage: convarium try RUN [key=value ...]"),
    ],
)
def test_a_word_that_a_verb_does_not_take_is_refused(words: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as refused:
        replace(VERB, overrides="").read(words)
    assert str(refused.value) == says


def test_a_verb_prints_its_usage_its_options_and_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert VERB(["run", "--help"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "usage: convarium try RUN [key=value ...]",
        "",
        "  try it",
        "",
        "  weights=best|last  which weights",
        "  output=...         the file",
        "  format=text|json   how the answer is printed; --json is format=json; default text",
        "  key=value          keys of data",
        "",
        "example: convarium try RUN output=FILE",
    ]


@pytest.mark.parametrize("name", [name for name in VERBS if name != "train"])
def test_the_example_of_a_verb_is_one_that_it_reads(name: str) -> None:
    for example in find_verb(name.split())[0].example.split(", or: "):
        verb, words = find_verb(example.split()[1:])
        assert verb.name == name
        assert verb.read(words)


# Evaluate


def test_evaluate_shows_what_it_measured_beside_what_was_logged(
    convarium: Callable[..., Any], digits_run: RunDirectory
) -> None:
    outcome = convarium("evaluate", digits_run.path)
    loss, acc1 = (digits_run.result()["metrics"][f"test/{name}"] for name in ("loss", "acc1"))
    lines = [line.split() for line in outcome.out.splitlines()]
    assert outcome.code == 0
    assert outcome.out.startswith("lenet5-digits, final weights, test split, on ")
    rows = [["measured", "logged"], ["loss", f"{loss:.4f}", f"{loss:.4f}"], ["acc1", f"{acc1:.4f}", f"{acc1:.4f}"]]
    assert lines[2:5] == rows
    for words in (["weights=last"], ["split=val"], ["data.test_size=null"]):
        assert "logged" not in convarium("evaluate", digits_run.path, *words).out


def test_evaluate_answers_programs(convarium: Callable[..., Any], digits_run: RunDirectory) -> None:
    told = json.loads(convarium("evaluate", digits_run.path, "split=val", "weights=last", "--json").out)
    metrics = told.pop("metrics")
    assert metrics == {k: v for k, v in digits_run.result()["metrics"].items() if k.startswith("val/")}
    assert told.pop("device")
    named = {"run": str(digits_run.path), "weights": "last", "split": "val"}
    assert told == {**named, "images": 150, "left_out": {}, "views": "1 crop", "overrides": [], "assumption": None}


def test_evaluate_without_a_run_needs_a_file_of_weights(convarium: Callable[..., Any]) -> None:
    outcome = convarium("evaluate", "arch=lenet5", "weights=file.pth", "data=digits")
    assert outcome.code == 2
    assert outcome.err.startswith("error: weights=file.pth: no such file; accepted: torchvision:NAME, or a")


# Predict


def test_predict_prints_the_most_probable_classes(
    convarium: Callable[..., Any], digits_run: RunDirectory, image: Path
) -> None:
    name, *guesses = convarium("predict", digits_run.path, image, "top=3").out.splitlines()
    assert name == str(image)
    assert len(guesses) == 3
    chances = [float(line.split()[0]) for line in guesses]
    assert chances == sorted(chances, reverse=True)


def test_predict_answers_programs(convarium: Callable[..., Any], digits_run: RunDirectory, image: Path) -> None:
    [told] = json.loads(convarium("predict", digits_run.path, image, "--json").out)
    assert told["image"] == str(image)
    assert len(told["classes"]) == 5
    rows = list(csv.DictReader(io.StringIO(convarium("predict", digits_run.path, image, "format=csv").out)))
    for rank, (row, guess) in enumerate(zip(rows, told["classes"], strict=True), start=1):
        expected = {
            "image": str(image),
            "rank": str(rank),
            **{key: str(value) for key, value in guess.items()},
            "error": "",
        }
        assert row == expected


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("top=x", "top=x: expected a whole number"),
        ("top=-1", "top=-1: expected a whole number"),
        ("top=0", "top=0: out of range; accepted: 1 to 10"),
        ("format=yaml", "format=yaml: unknown. One of: text, json, csv"),
        ("arch=vgg16", "arch: not accepted. One of: top, weights, on_bad_file, explain, format"),
        ("weights=first", "weights=first: unknown. One of: final, best, last"),
    ],
)
def test_predict_refuses_in_one_line(
    convarium: Callable[..., Any], digits_run: RunDirectory, image: Path, word: str, says: str
) -> None:
    assert convarium("predict", digits_run.path, image, word) == (2, "", f"error: {says}\n")


def test_predict_names_a_bad_file_and_its_exit_code_says_so(
    convarium: Callable[..., Any], digits_run: RunDirectory, image: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(image.read_bytes()[:40])
    words = ("predict", digits_run.path, image, broken)
    code, out, err = convarium(*words)
    assert (code, out) == (1, convarium(*words[:3]).out)
    first, last = err.splitlines()
    assert first.startswith(f"error: {broken}: unreadable image (")
    assert last == "1 of 2 images could not be read"
    good, bad = json.loads(convarium(*words, "--json").out)
    assert (set(good), bad["classes"]) == ({"image", "classes"}, [])
    assert first == f"error: {broken}: {bad['error']}"
    *_, row = csv.DictReader(io.StringIO(convarium(*words, "format=csv").out))
    assert row == dict.fromkeys(row, "") | {"image": str(broken), "error": bad["error"]}
    code, out, err = convarium(*words, "on_bad_file=raise")
    assert (code, out, err.count("\n")) == (2, "", 1)


# Ctrl-C


@pytest.mark.parametrize("verb", ["evaluate", "predict", "data pack"])
def test_ctrl_c_ends_a_verb_at_once_in_one_line_and_nothing_of_it_is_left(
    verb: str,
    convarium: Callable[..., Any],
    digits_run: RunDirectory,
    image: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr("convarium.learn.learner.Learner.test_step", interrupt)
    monkeypatch.setattr("convarium.data.datasets.stored.read_picture", interrupt)
    monkeypatch.setattr("convarium.data.packed.writing.SplitWriter.add", interrupt)
    here = sorted(tmp_path.rglob("*"))
    words = {
        "evaluate": ("evaluate", digits_run.path),
        "predict": ("predict", digits_run.path, image),
        "data pack": ("data", "pack", "data=digits", "to=packed"),
    }
    assert convarium(*words[verb]) == (130, "", "interrupted\n")
    assert sorted(tmp_path.rglob("*")) == here
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


# Export


def test_export_says_where_what_and_how_well(
    convarium: Callable[..., Any], digits_run: RunDirectory, tmp_path: Path
) -> None:
    outcome = convarium("export", digits_run.path, "format=torch_export", f"output={tmp_path / 'a.pt2'}")
    assert outcome.code == 0
    assert outcome.out.splitlines() == [
        str(tmp_path / "a.pt2"),
        "  images (N, 1, 32, 32): uint8, pixels from 0 to 255",
        "  -> logits (N, 10): float32, softmax gives probabilities",
        "  run on noise, its logits differ from the network's by at most 0",
    ]
    assert (tmp_path / "a.pt2").is_file()


def test_export_refuses_in_one_line(convarium: Callable[..., Any], digits_run: RunDirectory) -> None:
    for word, says in {
        "format=onxn": "format=onxn: unknown; did you mean 'onnx'? One of: onnx, torch_export, safetensors",
        "normalize=yes": "normalize=yes: unknown. One of: true, false",
        "opset=3": "opset: not accepted. One of: format, output, weights, normalize",
    }.items():
        assert convarium("export", digits_run.path, word) == (2, "", f"error: {says}\n")


# Fetch


def test_nothing_is_fetched_of_what_is_shipped_or_made(convarium: Callable[..., Any]) -> None:
    outcome = convarium("data", "fetch", "digits", "synthetic")
    assert outcome.code == 0
    assert [line.partition(":")[0] for line in outcome.out.splitlines()] == ["digits", "synthetic"]
    assert outcome.out.count("nothing to fetch") == 2


def test_what_is_here_is_not_fetched_again(convarium: Callable[..., Any], tmp_path: Path) -> None:
    folder = tmp_path / "sets" / "MNIST" / "raw"
    folder.mkdir(parents=True)
    for part, number in (("train", 3), ("t10k", 2)):
        pixels, labels = bytes(number * 28 * 28), bytes(number)
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, number, 28, 28) + pixels)
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, number) + labels)
    outcome = convarium("data", "fetch", "mnist", "data.root=sets")
    assert outcome == (0, f"mnist: is in {tmp_path / 'sets'}\n", "")


@pytest.mark.parametrize("name", ["cifar10", "mnist", "emnist", "svhn", "stl10", "usps", "imagenette", "tiny_imagenet"])
def test_without_a_network_fetching_ends_in_one_line_and_leaves_nothing(
    convarium: Callable[..., Any], tmp_path: Path, name: str
) -> None:
    outcome = convarium("data", "fetch", name, "data.root=sets/deep")
    said = f"data={name}: could not download it in {tmp_path / 'sets/deep'}"
    assert outcome.code == 2
    assert (f"unpacked by: convarium data fetch {name} from=" if "imagenet" in name else said) in outcome.err
    assert outcome.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("imagenet", "from=nowhere"), "error: from=nowhere: no such file"),
        (("imagenet", "from=[a.tar,b.tar]"), "error: from=a.tar: no such file"),
        (("imagenet", "from=."), "error: from=.: none of ILSVRC2012_img_train.tar, "),
        (("imagenet", "from="), "error: from: must name an archive, several as from=[A,B]"),
        (("imagenette", "from=mine.tgz"), "error: from=mine.tgz: no such file; accepted: imagenette2-160.tgz"),
        (("mnist", "from=mine.tgz"), "error: from=mine.tgz: data=mnist is not made from archives on this disk"),
        (("imagenet", "form=."), "error: form: no such key"),
    ],
)
def test_archives_that_cannot_be_used_are_refused(
    convarium: Callable[..., Any], words: tuple[str, ...], message: str
) -> None:
    outcome = convarium("data", "fetch", *words, "data.root=sets")
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert outcome.err.startswith(message)


def test_a_dataset_is_made_from_an_archive(convarium: Callable[..., Any], tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a,b.zip", "w") as bundle:
        for split in ("train", "val"):
            bundle.writestr(f"top/{split}/n1/1.JPEG", b"")
    md5 = hashlib.md5((tmp_path / "a,b.zip").read_bytes()).hexdigest()
    words = ("data", "fetch", "tiny_imagenet", "from=a,b.zip", f"data.md5={md5}", "data.root=sets")
    assert convarium(*words).out == f"tiny_imagenet: train and val from a,b.zip, in {tmp_path / 'sets'}\n"
    assert convarium(*words).out == f"tiny_imagenet: is in {tmp_path / 'sets'}\n"


def test_imagenet_and_one_s_own_folder_are_not_ours_to_fetch(convarium: Callable[..., Any], tmp_path: Path) -> None:
    outcome = convarium("data", "fetch", "imagenet")
    assert outcome.code == 2
    assert "register at image-net.org" in outcome.err
    (tmp_path / "mine" / "cats").mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(tmp_path / "mine" / "cats" / "1.png")
    outcome = convarium("data", "fetch", "folder", "data.root=mine")
    assert outcome.code == 2
    assert "a folder of your own; there is nothing to fetch" in outcome.err


# A run of somebody else


@pytest.fixture
def changed(digits_run: RunDirectory, tmp_path: Path) -> Callable[[str, Any], RunDirectory]:
    """The run with another value in its config.yaml."""
    run = RunDirectory(shutil.copytree(digits_run.path, tmp_path / "changed"))

    def change(key: str, value: Any) -> RunDirectory:
        config = digits_run.config()
        config["data"][key] = value
        run.config_file.write_text(yaml.safe_dump(config))
        return run

    return change


@pytest.mark.parametrize("verb", ["evaluate", "predict", "export", "figures"])
def test_every_verb_that_reads_a_run_checks_its_values(
    verb: str, changed: Callable[[str, Any], RunDirectory], convarium: Callable[..., Any], image: Path
) -> None:
    for key, value in (("image_size", "x"), ("mean", ["a"]), ("val_fraction", -1)):
        outcome = convarium(verb, changed(key, value).path, *([image] if verb == "predict" else []))
        assert outcome.code == 2
        assert outcome.err.startswith(f"error: data.{key}=")
        assert outcome.err.count("\n") == 1


@pytest.mark.parametrize("verb", ["evaluate", "figures"])
def test_what_reads_a_run_s_data_makes_nothing_where_its_config_says(
    verb: str, changed: Callable[[str, Any], RunDirectory], convarium: Callable[..., Any], tmp_path: Path
) -> None:
    where = tmp_path / "elsewhere"
    outcome = convarium(verb, changed("cache_dir", str(where)).path)
    assert (outcome.code, where.exists()) == (2, False)
    assert outcome.err.startswith(f"error: data.cache_dir={where}: is what ")
