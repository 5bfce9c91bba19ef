"""What `look` draws of a run, what it says was found, and what it refuses in one line."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from convarium.config.instantiate import build
from convarium.run.directory import RunDirectory
from convarium.trained.load import load_run
from convarium.trained.look import look
from convarium.trained.predict import predict
from runs import untrained

MAPPED = ["kernels.png", "gradcam.png", "occlusion.png", "nudge.png"]


@pytest.fixture(autouse=True)
def few_dots(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing is most of the time."""
    monkeypatch.setattr("convarium.trained.look.DPI", 50)


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Grey pictures of noise, 8x8, and a color one of another size."""
    torch.manual_seed(3)
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        Image.fromarray(torch.randint(0, 256, (8, 8), dtype=torch.uint8).numpy()).save(path)
    return paths


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def mlp_run(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    return untrained(tmp_path_factory.mktemp("mlp") / "run", "arch=mlp", "arch.hidden=[16]")


def test_everything_is_drawn_and_what_is_said_is_what_the_network_answers(
    digits_run: RunDirectory, photos: list[Path], convarium: Callable[..., Any]
) -> None:
    code, out, err = convarium("look", digits_run.path, *photos, "out=seen", "patch=16", "--json")
    assert (code, err) == (0, "")
    answer = json.loads(out)
    assert answer["layer"] == {"name": "c3", "channels": 16, "height": 10, "width": 10}
    assert sorted([*MAPPED, "maps_1.png", "maps_2.png"]) == written(Path("seen"))
    assert [Path(file).name for file in answer["files"]] == ["kernels.png", "maps_1.png", "maps_2.png", *MAPPED[1:]]
    expected = predict(digits_run, photos, top=3)
    assert [image["image"] for image in answer["images"]] == list(map(str, photos))
    for image, prediction in zip(answer["images"], expected, strict=True):
        assert [guess["name"] for guess in image["classes"]] == [guess.name for guess in prediction.guesses]
        assert image["classes"][0]["probability"] == pytest.approx(prediction.guesses[0].probability, abs=1e-5)
        assert image["truth"] is None
        assert image["gradcam"] == {"layer": "c3"}
        assert image["nudge"]["then"]["number"] != image["classes"][0]["number"]
        assert 0 < image["nudge"]["levels"] < 255
        part = image["occlusion"]
        assert (part["patch"], 0 <= part["x"] <= 16, 0 <= part["y"] <= 16) == (16, True, True)
    for name in MAPPED:
        with Image.open(Path("seen") / name) as picture:
            picture.load()
            assert picture.width >= 250
            assert len(set(picture.convert("L").resize((50, 50)).tobytes())) > 10


def test_what_occlusion_says_is_what_the_network_answers_with_the_patch_on_it(
    digits_run: RunDirectory, photos: list[Path]
) -> None:
    [subject] = look(digits_run, photos[:1], what="occlusion", patch=16, output=Path("seen")).subjects
    data, net, part = build(digits_run.config()["data"], "data"), load_run(digits_run.path), subject.found["occlusion"]
    image = data.normalize(data.open_image(photos[0])[None])
    image[:, :, part["y"] : part["y"] + 16, part["x"] : part["x"] + 16] = 0
    with torch.no_grad():
        probability = net(image).softmax(1)[0, subject.classes[0].number]
    assert part["probability"] == pytest.approx(float(probability), abs=1e-5)


def test_without_images_they_are_of_the_split_and_the_worst_mistakes_if_asked(digits_run: RunDirectory) -> None:
    seen = Path("seen")
    data, net = build(digits_run.config()["data"], "data"), load_run(digits_run.path)
    subjects = look(digits_run, what="saliency", output=seen).subjects
    assert [subject.truth for subject in subjects] == ["0", "2", "4", "5", "7", "9"]
    mistakes = look(digits_run, what="saliency", of="mistakes", split="test", output=seen).subjects
    source = data.test_dataloader().source
    with torch.no_grad():
        rows = net(data.normalize(source.fetch(torch.arange(len(source)))[0])).softmax(1)
    wrong = (rows.argmax(1) != source.targets).nonzero()[:, 0]
    order = wrong[rows[wrong, source.targets[wrong]].argsort()][:6]
    assert [subject.name for subject in mistakes] == [f"#{number}" for number in order.tolist()]
    assert all(subject.truth != subject.classes[0].name for subject in mistakes)
    assert written(seen) == ["saliency.png"]


def test_more_images_than_a_sheet_takes_are_on_several(digits_run: RunDirectory, photos: list[Path]) -> None:
    looked = look(digits_run, photos[:1] * 7, what="gradcam", layer="c1", output=Path("seen"))
    assert [path.name for path in looked.files] == ["gradcam_1.png", "gradcam_2.png"]
    assert looked.subjects[6].found == {"gradcam": {"layer": "c1"}}


def test_filters_are_shown_with_the_images_that_excite_them(
    digits_run: RunDirectory, convarium: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("convarium.anatomy.feature_maps.STEPS", 3)
    code, out, _ = convarium("look", digits_run.path, "what=filters", "layer=c1", "filter=5,0", "out=seen")
    assert (code, out) == (0, "seen/filters.png\n")
    code, _, err = convarium("look", digits_run.path, "what=filters", "layer=c1", "filter=6", "out=seen")
    assert (code, err) == (2, "error: filter=6: accepted: 0 to 5, those of c1, 6 maps of 28x28\n")


def test_a_network_without_maps_shows_the_gradient_of_its_input_and_says_so(
    mlp_run: RunDirectory, photos: list[Path], convarium: Callable[..., Any]
) -> None:
    code, out, err = convarium("look", mlp_run.path, photos[0], "out=seen")
    assert (code, err) == (0, "no layer of this network has maps: the gradient of the input stands for Grad-CAM\n")
    assert written(Path("seen")) == ["kernels.png", "nudge.png", "occlusion.png", "saliency.png"]
    assert out.startswith(f"{photos[0]}\n  0.")
    code, out, err = convarium("look", mlp_run.path, photos[0], "what=gradcam", "out=seen2")
    assert (code, out) == (2, "")
    assert err == (
        "error: what=gradcam: no layer of this network has maps; accepted: kernels, saliency, occlusion, nudge\n"
    )
    assert not Path("seen2").exists()


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("arch=lenet5", "data.num_classes=1", "data.channels=1"), id="one logit"),
        pytest.param(("arch=lenet5", "norm=group", "data.channels=3", "data.image_size=40"), id="color, group norm"),
        pytest.param(("arch=vgg11_lrn", "data.channels=1"), id="lrn", marks=pytest.mark.slow),
        pytest.param(("arch=inception_v1", "norm=lrn", "data.channels=1"), id="heads", marks=pytest.mark.slow),
        pytest.param(("arch=logistic_regression", "data.num_classes=1", "data.channels=2"), id="two channels, linear"),
    ],
)
def test_it_looks_into_networks_of_all_kinds(words: tuple[str, ...], tmp_path: Path) -> None:
    run = untrained(tmp_path / "run", "data=synthetic", *words, "data.train_size=40", "data.test_size=12")
    for what in ("kernels", "saliency") if "arch=logistic_regression" in words else ("kernels", "gradcam"):
        looked = look(run, what=what)
        assert looked.files
        assert looked.notes == []
    assert all(len(subject.classes) in (2, 3) for subject in looked.subjects)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["layer=c33"], "layer=c33: no layer with maps; did you mean 'c3'? convarium look RUN what=layers lists them"),
        (["layer=f6"], "layer=f6: no layer with maps"),
        (["patch=33"], "patch=33: out of range; accepted: 1 to 32, the side of the images"),
        (["patch=0"], "patch=0: out of range"),
        (["what=gradcm"], "what=gradcm: unknown; did you mean 'gradcam'?"),
        (["file"], "what=kernels: is not of images"),
        (["filter=1"], "filter=1: has no part in what=kernels; accepted: what=filters"),
        (["nosuch.png"], "nosuch.png: no such image"),
        (["out=file/x"], "out=file/x: cannot be written"),
    ],
)
def test_what_cannot_be_is_one_line(
    digits_run: RunDirectory, convarium: Callable[..., Any], words: list[str], message: str
) -> None:
    Path("file").touch()
    before = written(digits_run.path)
    code, out, err = convarium("look", digits_run.path, "what=kernels", *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {message}")
    assert written(digits_run.path) == before


def test_the_layers_are_listed(digits_run: RunDirectory, convarium: Callable[..., Any]) -> None:
    code, out, _ = convarium("look", digits_run.path, "what=layers")
    assert (code, out.splitlines()[-1]) == (0, "c3, 16 maps of 10x10 (if none is named)")
    assert len(out.splitlines()) == 4


def test_bad_files_are_named_and_the_others_looked_at(
    digits_run: RunDirectory, photos: list[Path], convarium: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "empty").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    words = [photos[0], tmp_path / "text.png", tmp_path / "empty", tmp_path / "pipe.png"]
    code, out, err = convarium("look", digits_run.path, *words, "what=gradcam", "out=seen")
    assert (code, out.splitlines()[0], out.count("\n")) == (1, str(photos[0]), 3)
    assert [line.split(": ")[1] for line in err.splitlines()] == list(map(str, words[1:]))
    code, out, err = convarium("look", digits_run.path, *words[1:], "what=gradcam", "out=nothing")
    assert (code, out, Path("nothing").exists()) == (1, "", False)


def test_predictions_are_explained_for_the_files_that_can_be_read(
    digits_run: RunDirectory, photos: list[Path], convarium: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "text.png").write_text("no image")
    plain = convarium("predict", digits_run.path, *photos, tmp_path / "text.png")
    code, out, err = convarium("predict", digits_run.path, *photos, tmp_path / "text.png", "explain=gradcam")
    picture = digits_run.path / "look" / "gradcam.png"
    assert (code, out, err) == (1, f"{plain.out}{picture}\n", plain.err)
    assert picture.is_file()
    picture.unlink()
    picture.parent.rmdir()
