"""`~` is the home folder wherever a path is expected, also where the shell leaves it: behind a `=`, in quotes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from convarium.config.compose import compose
from convarium.config.keys import PATH, names_with
from convarium.files import from_home
from convarium.run.directory import RunDirectory

Command = Callable[..., Any]


@pytest.fixture(autouse=True)
def home(own_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with pictures of two classes; the current folder is another one."""
    home = own_directory / "home of=me"
    for name in ("cat", "dog"):
        (home / "photos" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("RGB", (8, 8), (number, 0, 0)).save(home / "photos" / name / f"{number}.png")
    monkeypatch.setenv("HOME", str(home))
    (own_directory / "here").mkdir()
    monkeypatch.chdir(own_directory / "here")
    return home


@pytest.mark.parametrize(
    ("word", "means"),
    [
        ("~/a", "HOME/a"),
        ("data.root=~/a", "data.root=HOME/a"),
        ("data.root='~/a b'", "data.root='HOME/a b'"),
        ("data.root=~/a,~/b", "data.root=HOME/a,HOME/b"),
        ("from=[~/a,~/b]", "from=[HOME/a,HOME/b]"),
        ("--config-dir=~/a", "--config-dir=HOME/a"),
        ("data.root=a~/b", "data.root=a~/b"),
        ("~optimizer.lr", "~optimizer.lr"),
        ("~hydra/launcher", "~hydra/launcher"),
    ],
)
def test_a_path_may_begin_at_home(word: str, means: str, home: Path) -> None:
    assert from_home(word) == means.replace("HOME", str(home))


@pytest.mark.parametrize(
    ("key", "with_it"),
    [
        ("run_dir", ()),
        ("resume", ()),
        ("weights", ()),
        ("data.root", ("data=mnist",)),
        ("init.weights", ("init=recipe/vgg_from_a_2014", "arch=vgg16")),
    ],
)
def test_every_key_that_is_a_path_may(key: str, with_it: tuple[str, ...], convarium: Command, home: Path) -> None:
    assert key in names_with(PATH)
    assert convarium("train", *with_it, f"{key}=~/a", "--cfg", "job", "-p", key).out == f"{home}/a\n"


def test_what_a_yaml_or_the_environment_says_may(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONVARIUM_DATA", "~/sets")
    assert compose(["data=mnist"]).config["data"]["root"] == str(home / "sets")
    Path("mine/data").mkdir(parents=True)
    Path("mine/data/photos.yaml").write_text("defaults: [folder, _self_]\nroot: ~/photos\n")
    data = compose(["data=photos", "batch_size=4"], "mine").config["data"]
    assert (data["root"], data["classes"]) == (str(home / "photos"), ["cat", "dog"])


def test_what_a_verb_takes_may(convarium: Command, digits_run: RunDirectory, home: Path) -> None:
    (home / "run").symlink_to(digits_run.path)
    image = home / "photos" / "cat" / "1.png"
    assert convarium("predict", "~/run", "~/photos/cat/1.png", "top=1").out.startswith(f"{image}\n")
    assert convarium("export", "~/run", "format=safetensors", "output=~/a.safetensors").out.startswith(f"{home}/a.")
    assert convarium("data", "check", "~/photos", "to=~/report.csv").code == 0
    assert (home / "report.csv").is_file()
    assert convarium("data", "show", "data=folder", "data.root=~/photos", "to=~/sheet.png").code == 0
    assert (home / "sheet.png").is_file()
    assert f"from={home}/x.tgz: no such file" in convarium("data", "fetch", "imagenette", "from=~/x.tgz").err
    assert f"{home}/s: no such sweep" in convarium("sweep", "status", "~/s").err
    assert f"resume={home}/r: no run" in convarium("train", "resume=~/r").err
    assert f"--config-dir {home}/c: no such folder" in convarium("train", "--config-dir=~/c").err
    assert sorted(Path().iterdir()) == []
