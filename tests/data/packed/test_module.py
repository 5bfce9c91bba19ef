import json

import pytest
import torch

from convarium.batch import Batch
from convarium.config.resolvers import packed as fact_of
from convarium.data.packed.packing import pack
from convarium.data.readers.choice import reader
from convarium.errors import ConfigError, MissingData
from data.packed.packs import FACTS, folder_of, packed_of, packing_of


def test_the_facts_come_out_of_the_header(packed):
    expected = {name: value for name, value in FACTS.items() if name != "val_fraction"}
    assert {name: fact_of(str(packed), name) for name in expected} == expected
    assert fact_of(str(packed), "crop_share") == 1.0


def test_the_facts_come_through_a_url_too(in_memory, packed):
    assert fact_of(in_memory, "classes") == fact_of(str(packed), "classes") == ["cat", "dog"]


def test_validation_is_carved_as_from_the_folder(packed):
    own, ours = folder_of(packed.parent / "my pictures = café"), packed_of(packed)
    for data in (own, ours):
        data.setup("fit")
    assert (ours.num_train, ours.num_val, ours.num_test, ours.test_is_val) == (9, 3, 3, True)
    assert torch.equal(own._members[1], ours._members[1])


def test_the_splits_are_those_that_were_packed(class_folders, tmp_path):
    packing_of(class_folders(splits=("train", "val", "test")), tmp_path / "packed")
    data = packed_of(tmp_path / "packed")
    data.setup("fit")
    assert (data.num_train, data.num_val, data.num_test, data.test_is_val) == (8, 8, 8, False)
    assert sum(len(batch.index) for batch in data.test_dataloader()) == 8


def test_two_packed_classes_may_be_told_apart_by_one_logit(packed, class_folders, tmp_path):
    data = packed_of(packed, num_classes=1)
    data.setup("fit")
    assert (data.class_names, sorted(set(data._train.targets.tolist()))) == (["cat", "dog"], [0, 1])
    pack(folder_of(class_folders(name="again"), num_classes=1), tmp_path / "binary", reader=reader("pillow"))
    assert packed_of(tmp_path / "binary", num_classes=1).read("train").targets.tolist() == [0] * 4 + [1] * 4


def test_a_batch_has_its_channels_first_on_the_device(packed):
    data = packed_of(packed)
    [batch, *_] = data.train_dataloader()
    moved = data.on_after_batch_transfer(batch, 0)
    assert moved.images.is_contiguous()
    expected = data.normalize(batch.images.contiguous())
    assert torch.equal(moved.images, expected)
    assert isinstance(moved, Batch)


def test_a_predicted_image_is_sized_as_the_dataset_own(class_folders, tmp_path):
    root = class_folders(size=(30, 20))
    packing_of(root, tmp_path / "packed", format="raw")
    data = packed_of(tmp_path / "packed", crop_share=0.9)
    own = data._train.fetch(torch.tensor([5]))[0][0]
    assert torch.equal(data.open_image(root / "train" / "dog" / "1.png"), own)


def test_what_cannot_be_predicted_is_named(packed, tmp_path):
    (tmp_path / "no.png").write_bytes(b"?")
    with pytest.raises(ValueError, match=r"no\.png: unreadable image"):
        packed_of(packed).open_image(tmp_path / "no.png")
    with pytest.raises(ValueError, match=r"none\.png: no such image"):
        packed_of(packed).open_image(tmp_path / "none.png")


def test_a_folder_that_was_not_packed_is_told_how_to_be(tmp_path):
    with pytest.raises(MissingData, match=r"data.root=.*: no packed dataset there .*convarium data pack data=folder"):
        packed_of(tmp_path).setup("fit")


def test_other_classes_or_channels_than_packed_are_refused(class_folders, tmp_path):
    packing_of(class_folders(), tmp_path / "raw", format="raw")
    with pytest.raises(ConfigError, match=r"data.num_classes=3: but .* has 2 classes"):
        packed_of(tmp_path / "raw", num_classes=3, classes=None).setup("fit")
    with pytest.raises(ConfigError, match=r"data.channels=1: but .* has pixels of 3 channels"):
        packed_of(tmp_path / "raw", channels=1).setup("fit")


def test_a_limit_without_a_cache_is_refused(packed):
    with pytest.raises(ValueError, match=r"data.cache_gb=1: limits data.cache_dir, which is null"):
        packed_of(packed, cache_gb=1)


def test_a_cache_that_cannot_be_written_is_named(packed, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"data.cache_dir=.*file: Not a directory"):
        packed_of(packed, cache_dir=str(tmp_path / "file")).setup("fit")


def test_there_is_nothing_to_fetch(packed):
    with pytest.raises(ConfigError, match=r"packed by convarium data pack; there is nothing to fetch"):
        packed_of(packed).fetch()


def test_the_header_tells_a_person_what_is_in_it(packed, store):
    told = json.loads((packed / "packed.json").read_text())
    assert (told["format"], told["version"], told["store"], told["splits"]["train"]["samples"]) == (
        "convarium packed",
        1,
        store,
        12,
    )


def test_a_device_that_waits_is_told_what_to_change(packed, in_memory, store):
    assert packed_of(packed, num_workers=0).advice().startswith("reading shards in 0 threads (")
    assert ("format=raw" in packed_of(packed).advice()) == (store == "jpeg")
    assert "data.cache_dir=FOLDER" in packed_of(in_memory).advice()
    assert "data.cache_dir=FOLDER" not in packed_of(packed).advice()


def test_what_the_network_sees_of_packed_pictures_is_cut_by_the_augmentation(packed):
    from convarium.data.augment.crop import RandomResizedCrop

    data = packed_of(packed, augment={"crop": RandomResizedCrop()})
    samples = data.samples(4, epochs=2)
    assert [tuple(picture.shape) for picture in samples.stored] == [(3, 16, 24)] * 4
    assert [seen.shape for seen in samples.seen] == [(4, 3, 12, 12)] * 2
    assert not torch.equal(*samples.seen)
