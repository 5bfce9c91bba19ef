import hashlib
import io
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from convarium.commands.data import check as data_check
from convarium.commands.data import pack as data_pack
from convarium.data.datasets.digits import Digits
from convarium.data.packed.packing import pack
from convarium.data.readers.choice import reader
from convarium.errors import ConfigError
from data.packed.packs import folder_of, packed_of, packing_of


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Two classes of three JPEG files of 30x20, and one of 14x10."""
    numbers = np.random.default_rng(0)
    for label in ("cat", "dog"):
        (tmp_path / "pictures" / "train" / label).mkdir(parents=True)
        for k in range(4):
            pixels = numbers.integers(0, 256, (20, 30, 3) if k else (10, 14, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pictures" / "train" / label / f"{k}.jpg")
    return tmp_path / "pictures"


def sums(root: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(root.iterdir())}


@pytest.mark.parametrize("store", ["jpeg", "raw"])
def test_the_same_input_gives_the_same_bytes(pictures, tmp_path, store):
    packing_of(pictures, tmp_path / "one", format=store, threads=1)
    packing_of(pictures, tmp_path / "two", format=store, threads=4)
    assert sums(tmp_path / "one") == sums(tmp_path / "two")
    assert len(sums(tmp_path / "one")) >= 4


def test_splits_are_packed_by_what_they_are_not_by_what_they_are_called(pictures, tmp_path):
    for name in ("Valid", "Testing"):
        shutil.copytree(pictures / "train", pictures / name)
    (pictures / "train").rename(pictures / "Training")
    assert packing_of(pictures, tmp_path / "packed").images == {"train": 8, "val": 8, "test": 8}


def test_jpeg_shards_are_plain_tars_of_pictures_and_class_numbers(pictures, tmp_path):
    packing_of(pictures, tmp_path / "packed")
    found = {}
    for shard in sorted((tmp_path / "packed").glob("train-*.tar")):
        with tarfile.open(shard) as tar:
            found |= {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}
    assert list(found) == [f"{number:08}.{kind}" for number in range(8) for kind in ("jpg", "cls")]
    assert [found[f"{number:08}.cls"] for number in range(8)] == [b"0"] * 4 + [b"1"] * 4
    sizes = [Image.open(io.BytesIO(found[f"{number:08}.jpg"])).size for number in range(8)]
    assert sizes == [(14, 10), (24, 16), (24, 16), (24, 16)] * 2


def test_a_jpeg_file_that_need_not_shrink_is_kept_as_it_is(pictures, tmp_path):
    packing_of(pictures, tmp_path / "packed", size=None, shard_mb=1)
    data = (tmp_path / "packed" / "train-00000.tar").read_bytes()
    for path in sorted((pictures / "train").rglob("*.jpg")):
        assert path.read_bytes() in data


def test_raw_shards_are_the_pixels_and_nothing_else(pictures, tmp_path):
    packing_of(pictures, tmp_path / "packed", format="raw", size=None, shard_mb=1)
    paths = sorted((pictures / "train").rglob("*.jpg"))
    pixels = b"".join(np.asarray(Image.open(path).convert("RGB")).tobytes() for path in paths)
    assert (tmp_path / "packed" / "train-00000.raw").read_bytes() == pixels


def test_shards_are_as_long_as_asked_for(pictures, tmp_path):
    packing_of(pictures, tmp_path / "packed", format="raw", size=16, shard_mb=0.0025)
    lengths = [path.stat().st_size for path in sorted((tmp_path / "packed").glob("*.raw"))]
    assert sum(lengths) == 2 * (14 * 10 * 3 + 3 * 24 * 16 * 3)
    assert max(lengths) <= 2500
    packing_of(pictures, tmp_path / "small", format="raw", size=16, shard_mb=1e-6)
    assert len(list((tmp_path / "small").glob("*.raw"))) == 8  # a sample longer than a shard has one of its own


def test_what_was_packed_is_told(pictures, tmp_path):
    packing = packing_of(pictures, tmp_path / "packed")
    total = sum(path.stat().st_size for path in (tmp_path / "packed").iterdir())
    assert (packing.images, packing.bytes, packing.bad) == ({"train": 8}, total, [])
    assert f"8 train; {total / 1e6:.1f} MB in" in str(packing)
    assert "python train.py data=packed data.root=" in str(packing)


def test_a_dataset_in_memory_is_packed_as_it_is_held(tmp_path):
    facts = {"num_classes": 10, "channels": 1, "image_size": 16, "mean": [0.3], "std": [0.3]}
    digits = Digits(stored_size=8, **facts)
    pack(digits, tmp_path / "digits", reader=reader("pillow"), format="raw")
    packed = packed_of(tmp_path / "digits", classes=None, **facts)
    for split in ("train", "test"):
        samples = torch.arange(0, 290, 7)
        assert torch.equal(packed.read(split).fetch(samples)[0], digits.read(split).fetch(samples)[0])
    assert packed.num_test == 297


# what cannot be packed


def spoil(pictures: Path) -> Path:
    bad = pictures / "train" / "cat" / "2.jpg"
    bad.write_bytes(b"?")
    return bad


def test_a_bad_file_ends_it_and_leaves_nothing_behind(pictures, tmp_path):
    bad = spoil(pictures)
    with pytest.raises(ConfigError, match=rf"{bad}: unreadable image \(.*\); data\.on_bad_file=skip leaves it out"):
        packing_of(pictures, tmp_path / "packed")
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("packed")]


def test_bad_files_are_left_out_and_listed_if_told_to(pictures, tmp_path):
    bad = spoil(pictures)
    packing = packing_of(pictures, tmp_path / "packed", on_bad_file="skip")
    assert packing.images == {"train": 7}
    assert "\n  1 file left out: " in str(packing)
    assert [(found.split, found.path) for found in packing.bad] == [("train", str(bad))]
    assert (tmp_path / "packed" / "bad_files.csv").read_text().startswith(f"split,path,reason\ntrain,{bad},")
    assert packed_of(tmp_path / "packed").read("train").targets.tolist() == [0] * 3 + [1] * 4


def test_a_split_without_a_readable_image_is_refused(pictures, tmp_path):
    for path in pictures.rglob("*.jpg"):
        path.write_bytes(b"?")
    with pytest.raises(ConfigError, match="no readable image in train"):
        packing_of(pictures, tmp_path / "packed", on_bad_file="skip")


def test_nothing_is_packed_over_what_is_there(pictures, tmp_path):
    (tmp_path / "packed").mkdir()
    with pytest.raises(ConfigError, match=r"to=.*packed: exists already; accepted: a new folder"):
        packing_of(pictures, tmp_path / "packed")
    (tmp_path / "packed").rename(tmp_path / "more.tmp")
    with pytest.raises(ConfigError, match=r"more\.tmp is there: packed at this moment, or left by a stop; remove it"):
        packing_of(pictures, tmp_path / "more")
    assert (tmp_path / "more.tmp").is_dir()


def test_no_other_picture_takes_the_place_of_a_bad_one(pictures, tmp_path):
    with pytest.raises(ConfigError, match="on_bad_file=replace: accepted are raise and skip"):
        packing_of(pictures, tmp_path / "packed", on_bad_file="replace")


def test_it_is_packed_here_not_there(pictures):
    with pytest.raises(ConfigError, match=r"to=s3://bucket/packed: pack into a folder here, then copy it there"):
        pack(folder_of(pictures), "s3://bucket/packed", reader=reader("pillow"))


# the command


def test_the_command_packs_what_a_config_describes(pictures, tmp_path, capsys):
    code = data_pack.VERB(
        ["data=folder", f"data.root={pictures}", "data.image_size=12", f"to={tmp_path / 'packed'}", "size=16"]
    )
    assert code == 0
    assert "8 train" in capsys.readouterr().out
    assert packed_of(tmp_path / "packed").read("train").fetch(torch.arange(8))[0].shape == (8, 3, 12, 12)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data=folder"], r"to must be given; usage: convarium data pack data=folder"),
        (["to=x"], r"data must be given; usage"),
        (["data=digits", "to=x", "format=rwa"], r"format=rwa: unknown; did you mean 'raw'\?"),
        (["data=digits", "to=x", "size=big"], r"size=big: expected a whole number or null"),
        (["data=digits", "to=x", "size=0"], r"size=0: expected a whole number or null"),
        (["data=digits", "to=x", "quality=101"], r"quality=101: accepted are 1 to 100"),
        (["data=digits", "to=x", "shard_mb=0"], r"shard_mb=0: accepted are numbers above 0"),
        (["data=digits", "to=x", "qualty=3"], r"qualty"),
    ],
)
def test_a_command_that_cannot_be_read_is_told_why(words, message):
    with pytest.raises(ConfigError, match=message):
        data_pack.VERB(words)


def test_a_changed_byte_of_a_shard_is_found_by_checking_it(pictures, tmp_path, capsys):
    packing_of(pictures, tmp_path / "packed", format="raw")
    assert data_check.VERB([str(tmp_path / "packed")]) == 0
    assert "packed, 8 train\n  every file is as it was written" in capsys.readouterr().out
    shard = next((tmp_path / "packed").glob("*.raw"))
    pixels = bytearray(shard.read_bytes())
    pixels[100] ^= 1
    shard.write_bytes(pixels)
    assert data_check.VERB([str(tmp_path / "packed")]) == 1
    assert f"{shard.name}: its checksum differs" in capsys.readouterr().out
