import hashlib
import json
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from convarium.data.packed.shards import Header, parse_header, parse_index, read_header, read_index
from convarium.data.packed.storage import open_storage
from convarium.errors import ConfigError, MissingData
from data.packed.packs import packed_of


def change_header(root, change):
    path = root / "packed.json"
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


def change_index(root, change):
    """With the checksum that belongs to the change: an index made by somebody who means harm."""
    path = root / "train.index.safetensors"
    columns = {name: column.copy() for name, column in load(path.read_bytes()).items()}
    columns = change(columns) or columns
    raw = save(columns)
    path.write_bytes(raw)

    def tell(told):
        told["splits"]["train"]["index"] |= {"bytes": len(raw), "sha256": hashlib.sha256(raw).hexdigest()}

    change_header(root, tell)


def test_a_header_is_read_back_as_it_was_written(packed):
    header = read_header(str(packed))
    assert parse_header("there", header.to_json().encode()) == header
    assert isinstance(header, Header)


def set_to(*path, value):
    def change(told):
        for key in path[:-1]:
            told = told[key]
        told[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_to("version", value=2), r"packed\.json: version 2; this program reads version 1: pack the dataset again"),
        (set_to("format", value="x"), r"packed\.json: not the header of a packed dataset"),
        (set_to("store", value="pickle"), r"packed\.json: 'pickle' where jpeg or raw is expected"),
        (set_to("channels", value=0), r"packed\.json: 0 where a whole number from 1 to"),
        (set_to("mean", value=["0"]), r"packed\.json: '0' where a number is expected"),
        (set_to("classes", value=["cat"]), r"packed\.json: 1 names of classes for num_classes=2"),
        (set_to("classes", value=[1, 2]), r"packed\.json: 1 where text is expected"),
        (set_to("classes", value=7), r"packed\.json: 'int' object is not iterable"),
        (set_to("splits", value={}), r"packed\.json: has no split train"),
        (lambda told: told.pop("std"), r"packed\.json: lacks 'std'"),
        (lambda told: told["splits"].update(more={}), r"packed\.json: 'more' where train or val or test is expected"),
        (set_to("splits", "train", "shards", 0, "name", value="../train-00000.raw"), r"not the name of a file"),
        (set_to("splits", "train", "shards", 0, "name", value="/etc/passwd"), r"not the name of a file"),
        (set_to("splits", "train", "shards", 0, "name", value=".."), r"not the name of a file"),
        (set_to("splits", "train", "shards", 0, "name", value="http://x/y"), r"not the name of a file"),
        (set_to("splits", "train", "index", "name", value="a/b"), r"not the name of a file"),
        (set_to("splits", "train", "samples", value=11), r"12 samples, but packed\.json says 11"),
        (set_to("splits", "train", "index", "sha256", value=""), r"not the file that packed\.json describes"),
    ],
)
def test_a_header_that_is_not_right_is_refused_in_one_line(packed, change, message):
    change_header(packed, change)
    with pytest.raises(ConfigError, match=message) as error:
        packed_of(packed).setup("fit")
    assert "\n" not in str(error.value)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_header_are_refused(raw):
    with pytest.raises(ConfigError, match=r"^data.root=there: packed\.json: not "):
        parse_header("there", raw)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["store", "splits", "train", "name"]), inner),
    ),
    st.sampled_from(["store", "size", "quality", "channels", "classes", "mean", "splits", "num_classes"]),
)
def test_any_value_in_a_header_is_accepted_or_refused(value, key):
    file = {"name": "a", "bytes": 1, "sha256": ""}
    told = {
        "format": "convarium packed",
        "version": 1,
        "store": "raw",
        "size": 1,
        "quality": None,
        "channels": 1,
        "image_size": 1,
        "crop_share": 1.0,
        "num_classes": 1,
        "classes": ["x"],
        "mean": [0],
        "std": [1],
        "splits": {"train": {"samples": 1, "index": file, "shards": [file]}},
    }
    with suppress(ConfigError):
        parse_header("there", json.dumps({**told, key: value}).encode())


def column(name, value, at=3):
    def change(columns):
        columns[name][at] = value

    return change


@pytest.mark.parametrize("store", ["raw"], indirect=True)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (column("offset", -1), "sample 3 lies outside its shard"),
        (column("offset", np.iinfo(np.int64).max), "sample 3 lies outside its shard"),
        (column("offset", 10**9), "sample 3 lies outside its shard"),
        (column("length", 0), "sample 3 lies outside its shard"),
        (column("length", np.iinfo(np.int32).max), "sample 3 lies outside its shard"),
        (column("shard", 99), "names a shard that is not there"),
        (column("shard", -1), "names a shard that is not there"),
        (column("height", 0), "a height out of range"),
        (column("width", 1 << 20), "a width out of range"),
        (column("width", 25), "sample 3 has not as many bytes as pixels"),
        (column("target", 2), r"a class number out of range \(num_classes=2\)"),
        (column("target", -1), "a class number out of range"),
        (lambda columns: {"shard": columns["shard"]}, "its columns are not shard, offset"),
        (lambda columns: columns | {"crc": columns["crc"].astype(np.int64)}, "its columns are not shard, offset"),
        (lambda columns: columns | {"crc": columns["crc"][:5]}, "its columns differ in length"),
    ],
)
def test_an_index_that_points_elsewhere_is_refused(packed, change, message):
    change_index(packed, change)
    with pytest.raises(ConfigError, match=rf"data.root=.*: train\.index\.safetensors: {message}"):
        read_index(open_storage(str(packed)), read_header(str(packed)), "train")


@given(st.binary(max_size=200))
def test_bytes_that_are_no_index_are_refused(raw):
    with pytest.raises(ConfigError, match=r"^not an index$|^its columns"):
        parse_index(raw, ConfigError)


def test_a_changed_index_is_noticed(packed):
    path = packed / "train.index.safetensors"
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    with pytest.raises(ConfigError, match=r"train\.index\.safetensors: not the file that packed\.json describes"):
        packed_of(packed).setup("fit")


def test_a_missing_shard_is_named_before_anything_is_read(packed):
    [shard, *_] = sorted(packed.glob("train-00001.*"))
    shard.unlink()
    with pytest.raises(MissingData, match=rf"data.root=.*: no file {shard.name}"):
        packed_of(packed).setup("fit")


def test_a_shard_that_was_cut_short_is_named_before_anything_is_read(packed):
    [shard, *_] = sorted(packed.glob("train-00001.*"))
    length = shard.stat().st_size
    with shard.open("r+b") as file:
        file.truncate(length - 1)
    with pytest.raises(ConfigError, match=rf"{shard.name}: {length - 1:,} bytes long, not {length:,}"):
        packed_of(packed).setup("fit")
