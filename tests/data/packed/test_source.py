import zlib
from functools import reduce
from itertools import islice
from operator import add

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from convarium.data.augment.change import AugmentKey
from convarium.data.image_files.pictures import read_picture
from convarium.data.loaders import TrainBatches
from convarium.data.packed.source import central, resize, stored_size
from convarium.data.readers.reader import Box
from data.packed.packs import Anywhere, folder_of, packed_of, packing_of

QUICK = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])

ALL = slice(None)


def stream(source, *, world_size=1, rank=0, epochs=2, start=None, stop=None, batch_size=4, seed=3):
    """(epoch, index, checksum of the pixels) of every sample, batch by batch, augmented crops as in training."""
    loader = TrainBatches(
        source,
        torch.arange(len(source)),
        batch_size=batch_size,
        seed=seed,
        world_size=world_size,
        rank=rank,
    )
    if start is not None:
        loader.load_state_dict(start)
    found = []
    for epoch in range(loader.epoch, epochs):
        loader.set_epoch(epoch)
        left = None if stop is None else stop - len(found)
        for batch in islice(loader, left):
            sums = [zlib.crc32(image.numpy().tobytes()) for image in batch.images]
            found.append([(epoch, index, number) for index, number in zip(batch.index.tolist(), sums, strict=True)])
        if stop is not None and len(found) >= stop:
            break
    return found, loader.state_dict()


def together(shares):
    """The batches of all ranks as one rank alone would see them."""
    return [reduce(add, batches) for batches in zip(*(found for found, _ in shares), strict=True)]


def source_of(root, **options):
    return packed_of(root, **options).read("train").for_training(Anywhere())


@QUICK
@given(
    threads=st.sampled_from([0, 1, 2, 4]),
    world_size=st.sampled_from([1, 2, 4]),
    stop=st.integers(0, 5),
    resumed_world_size=st.sampled_from([1, 2, 4]),
)
def test_the_stream_is_the_same_for_any_threads_and_ranks_and_after_a_stop(
    packed, threads, world_size, stop, resumed_world_size
):
    expected, _ = stream(source_of(packed, num_workers=0))
    source = source_of(packed, num_workers=threads)
    shares = [stream(source, world_size=world_size, rank=rank, stop=stop) for rank in range(world_size)]
    rest = [
        stream(source, world_size=resumed_world_size, rank=rank, start=shares[0][1])
        for rank in range(resumed_world_size)
    ]
    before = together(shares)
    after = together(rest)
    assert before + after == expected


def test_the_stream_from_a_store_is_that_from_the_disk(packed, in_memory):
    assert stream(source_of(in_memory))[0] == stream(source_of(packed))[0]


def test_the_samples_keep_their_numbers_and_classes(packed):
    own, other = folder_of(packed.parent / "my pictures = café"), packed_of(packed)
    own.setup("fit")
    other.setup("fit")
    assert torch.equal(own._train.targets, other._train.targets)
    for ours, theirs in zip(own.train_dataloader(), other.train_dataloader(), strict=True):
        assert torch.equal(ours.index, theirs.index)
    assert torch.equal(own._members[1], other._members[1])


@pytest.fixture
def photograph(tmp_path):
    """A folder with one picture of 61x45 in each of two classes."""
    numbers = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photographs" / name).mkdir(parents=True)
        pixels = numbers.integers(0, 256, (45, 61, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photographs" / name / "1.png")
    return tmp_path / "photographs"


def test_pixels_shrunk_to_the_size_that_evaluation_wants_are_those_of_the_folder(photograph, tmp_path):
    packing_of(photograph, tmp_path / "raw", format="raw", size=16)
    own, packed = (of(root, crop_share=0.75) for of, root in ((folder_of, photograph), (packed_of, tmp_path / "raw")))
    both = torch.arange(2)
    assert torch.equal(packed.read("train").fetch(both)[0], own.read("train").fetch(both)[0])


@pytest.mark.parametrize("crop_share", [1.0, 0.8])
def test_pixels_of_another_size_are_within_one_of_pillows(photograph, tmp_path, crop_share):
    packing_of(photograph, tmp_path / "raw", format="raw", size=None)
    packed = packed_of(tmp_path / "raw", crop_share=crop_share).read("train").fetch(torch.arange(2))[0]
    own = folder_of(photograph, crop_share=crop_share).read("train").fetch(torch.arange(2))[0]
    assert (packed.int() - own.int()).abs().max() <= 1


def test_a_crop_is_its_box_resized(photograph, tmp_path, store):
    if store == "jpeg":
        for path in photograph.rglob("*.png"):  # stored as they are
            Image.open(path).save(path.with_suffix(".jpg"), quality=95)
            path.unlink()
    packing_of(photograph, tmp_path / "packed", format=store, size=None)
    source = packed_of(tmp_path / "packed").read("train").for_training(Anywhere())
    key = AugmentKey(1, 5, torch.arange(2))
    boxes = Anywhere().boxes(torch.tensor([[45, 61], [45, 61]]), key, 12).tolist()
    for image, path, (top, left, height, width) in zip(
        source.fetch_training(torch.arange(2), key)[0], sorted(photograph.rglob("*.*g")), boxes, strict=True
    ):
        picture = Image.open(path).convert("RGB").crop((left, top, left + width, top + height))
        expected = torch.from_numpy(np.array(picture.resize((12, 12), Image.Resampling.BILINEAR))).permute(2, 0, 1)
        assert (image.int() - expected.int()).abs().max() <= 1
    assert torch.equal(
        source.fetch(torch.arange(2))[0], packed_of(tmp_path / "packed").read("train").fetch(torch.arange(2))[0]
    )


def test_grey_pictures_are_packed_as_such(photograph, tmp_path, store):
    packing_of(photograph, tmp_path / "packed", format=store, channels=1)
    images = packed_of(tmp_path / "packed", channels=1).read("train").fetch(torch.arange(2))[0]
    assert images.shape == (2, 1, 12, 12)
    expected = read_picture(photograph / "cat" / "1.png", channels=1, image_size=12)
    assert (images[0].int() - expected.int()).abs().float().mean() < 8  # of noise, in two steps, as a JPEG file


def test_images_are_made_inside_a_test_too(packed):
    source = source_of(packed)
    with torch.inference_mode():
        inside = source.fetch(torch.arange(12))[0]
    assert not inside.is_inference()


def test_what_is_resized_need_not_be_dense_or_writable():
    picture = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    part = picture[2:18, 5:25]
    expected = resize(part.copy(), (8, 9))
    part.flags.writeable = False
    assert np.array_equal(resize(part, (8, 9)), expected)


@pytest.mark.parametrize(
    ("stored", "cut"),
    [
        ((16, 16), (Box(2, 2, 12, 12), (12, 12), ALL, ALL)),  # the square alone: nothing is resized
        ((16, 24), (Box(2, 6, 12, 12), (12, 12), ALL, ALL)),
        ((12, 12), (Box(0, 0, 12, 12), (12, 12), ALL, ALL)),  # of that very size: not touched
        ((32, 40), (Box(0, 0, 32, 40), (16, 20), slice(2, 14), slice(4, 16))),
    ],
)
def test_the_central_square_is_cut_out_of_the_resized_picture(stored, cut):
    assert central(*stored, image_size=12, crop_share=0.75) == cut


@pytest.mark.parametrize(
    ("found", "size", "stored"),
    [
        ((500, 375), 256, (341, 256)),
        ((100, 300), 256, (100, 300)),
        ((500, 375), None, (500, 375)),
        ((1000, 3), 2, (667, 2)),
    ],
)
def test_the_shorter_side_is_shrunk_and_never_enlarged(found, size, stored):
    assert stored_size(*found, size) == stored


def test_the_stored_pictures_are_to_be_had_whole(photograph, tmp_path, store):
    packing_of(photograph, tmp_path / "packed", format=store, size=40)
    [cat, dog] = packed_of(tmp_path / "packed").read("train").whole(torch.tensor([0, 1]))[0]
    assert cat.shape == dog.shape == (3, 40, 54)
    if store == "raw":
        with Image.open(photograph / "cat" / "1.png") as picture:
            expected = np.array(picture.resize((54, 40), Image.Resampling.BILINEAR))
        assert np.array_equal(cat.permute(1, 2, 0).numpy(), expected)
