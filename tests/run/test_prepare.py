"""What a run would only find at its end is refused before it begins, by one line, with nothing made."""

from pathlib import Path

import pytest
from PIL import Image

from convarium.config.compose import compose
from convarium.errors import ConfigError
from convarium.run.prepare import Prepared, prepare
from convarium.sweep.local.check import check

FOLDER = (
    "arch=mlp",
    "arch.hidden=[4]",
    "data=folder",
    "data.root=set",
    "data.image_size=8",
    "batch_size=2",
    "threads=1",
)


def pictures(*places: str) -> None:
    """A tiny picture at each place below `set`."""
    for number, place in enumerate(places):
        path = Path("set", place)
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (number % 256, 20, 30)).save(path)


def classes(*splits: str) -> None:
    pictures(*(f"{split}/{label}/{k}.png" for split in splits for label in ("cat", "dog") for k in range(6)))


def prepared(*words: str) -> Prepared:
    return prepare(compose([*FOLDER, "trainer.accelerator=cpu", *words]).config)


def refusal(*words: str) -> str:
    before = sorted(Path().rglob("*"))
    with pytest.raises(ConfigError) as refused:
        prepared(*words)
    assert sorted(Path().rglob("*")) == before
    assert "\n" not in str(refused.value)
    return str(refused.value)


@pytest.mark.parametrize("split", ["val", "test"])
@pytest.mark.parametrize(
    ("places", "says"),
    [
        (("cat/0.png", "dog/0.png", "emu/0.png"), "the classes of {split} differ from train's; only in {split}: emu"),
        (("cat/0.png",), "the classes of {split} differ from train's; missing there: dog"),
        (
            ("0.png", "1.png"),
            "no class folders in set/{split}; expected one folder of images per class; unlabelled images",
        ),
        (("cat/0.png", "dog/notes.txt.png/0.txt.png"), None),
    ],
)
def test_a_test_split_is_looked_at_as_validation_is(split: str, places: tuple[str, ...], says: str | None) -> None:
    classes("train")
    pictures(*(f"{split}/{place}" for place in places))
    if says is None:
        assert prepared("data.in_memory=false").data.num_train > 0
    else:
        assert says.format(split=split) in refusal().replace(f"{Path().absolute()}/", "")


def test_an_empty_class_of_the_test_is_refused() -> None:
    classes("train", "test")
    for picture in Path("set/test/dog").iterdir():
        picture.unlink()
    assert "no images in class folder" in refusal()


def test_labels_of_the_test_that_train_lacks_are_refused_by_line() -> None:
    classes("all")
    rows = [f"all/{label}/{k}.png,{label},train" for label in ("cat", "dog") for k in range(5)]
    Path("set/table.csv").write_text("\n".join(["path,label,split", *rows, "all/dog/5.png,emu,test"]))
    assert "line 12: label emu: not among the 2 classes cat, dog" in refusal("data.root=set/table.csv")


def test_a_test_split_is_looked_at_before_a_sweep() -> None:
    classes("train")
    pictures("test/cat/0.png")
    answer = check([compose([*FOLDER, "trainer.accelerator=cpu"]).config])
    assert answer["job"] == 0
    assert "the classes of test differ from train's; missing there: dog; accepted: the same, or no " in answer["error"]


@pytest.mark.parametrize("size", [298, 100])
def test_a_wrong_size_of_the_test_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=rf"^data\.test_size={size}: but test has 297 images$"):
        prepare(compose(["arch=mlp", "threads=1", f"data.test_size={size}"]).config)


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("trainer.limit_test_batches=0.3", "less than one of the 3 batches of test"),
        ("trainer.limit_val_batches=0.1", "less than one of the 6 batches of val"),
    ],
)
def test_a_share_of_less_than_one_batch_is_refused(word: str, says: str) -> None:
    classes("train", "val")
    pictures(*(f"test/{label}/{k}.png" for label in ("cat", "dog") for k in range(3)))
    assert refusal(word) == f"{word}: {says}; accepted: a number of batches, or a larger share"
    assert prepared("trainer.limit_test_batches=0.4", "trainer.limit_val_batches=1").data.num_test == 6
