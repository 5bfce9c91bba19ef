import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from convarium.data.augment.change import AugmentKey
from convarium.data.augment.crop import RandomResizedCrop
from convarium.data.image_files.files import BadFile, Files, Shape
from convarium.data.image_files.listing import walk
from convarium.data.readers.choice import reader


def files_of(root, *, size=12, **options):
    paths = list(walk(root))
    return Files(paths, torch.arange(len(paths)), shape=Shape(3, size), reader=reader("pillow"), **options)


def spoil(root, *names):
    for name in names:
        (root / "train" / name).write_bytes(b"?")
    return root


def key(*samples, epoch=0):
    return AugmentKey(1, epoch, torch.tensor(samples))


def test_files_are_decoded_in_the_order_asked_for(class_folders):
    files = files_of(class_folders(images=5))
    held = files.load()
    some = torch.tensor([9, 0, 4, 4])
    assert torch.equal(files.fetch(some)[0], held.fetch(some)[0])
    assert files.bytes_in_memory == held.pixels.nbytes == 10 * 3 * 12 * 12


def test_files_are_decoded_inside_a_test_too(class_folders):
    files = files_of(class_folders())
    with torch.inference_mode():
        inside = files.load()
    assert torch.equal(inside.pixels, files.fetch(torch.arange(8))[0])


def test_a_crop_is_cut_out_of_the_file_where_there_is_a_key(class_folders):
    files = files_of(class_folders(size=(40, 30)))
    crop = RandomResizedCrop()
    cropped = files.for_training(crop)
    images, index = cropped.fetch_training(torch.arange(8), key(*range(8)))
    boxes = crop.boxes(torch.tensor([(30, 40)] * 8), key(*range(8)), 12).tolist()
    for image, path, (top, left, height, width) in zip(images, files.paths, boxes, strict=True):
        with Image.open(path) as picture:
            part = picture.crop((left, top, left + width, top + height)).resize((12, 12), Image.Resampling.BILINEAR)
        expected = torch.tensor(list(part.tobytes()), dtype=torch.uint8).view(12, 12, 3).permute(2, 0, 1)
        assert torch.equal(image, expected)
    assert index.tolist() == list(range(8))
    assert torch.equal(cropped.fetch(torch.arange(8))[0], files.fetch(torch.arange(8))[0])


@given(order=st.permutations(range(8)), size=st.integers(1, 8), threads=st.sampled_from([0, 1, 2, 4]))
@settings(deadline=None, max_examples=15)
def test_a_sample_is_the_same_in_any_batch_and_for_any_number_of_threads(wide_folder, order, size, threads):
    crop = RandomResizedCrop()
    together = (
        files_of(wide_folder, threads=0).for_training(crop).fetch_training(torch.arange(8), key(*range(8), epoch=3))[0]
    )
    files = files_of(wide_folder, threads=threads).for_training(crop)
    for first in range(0, 8, size):
        part = order[first : first + size]
        assert torch.equal(files.fetch_training(torch.tensor(part), key(*part, epoch=3))[0], together[part])


@pytest.fixture(scope="module")
def wide_folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("wide")
    torch.manual_seed(0)
    for k in range(8):
        Image.effect_noise((50 + k, 40), 60).convert("RGB").save(root / f"{k}.jpg")
    return root


def test_an_unreadable_file_is_named_when_it_is_decoded(class_folders):
    files = files_of(spoil(class_folders(), "dog/2.png"))
    with pytest.raises(BadFile, match=r"2\.png: unreadable image .*data\.on_bad_file=skip or replace"):
        files.load()


def test_a_missing_file_is_named_too(class_folders):
    root = class_folders()
    files = files_of(root)
    (root / "train" / "cat" / "1.png").unlink()
    with pytest.raises(BadFile, match=r"1\.png: unreadable image \(No such file or directory\)"):
        files.fetch(torch.tensor([1]))


def test_skipped_files_leave_the_batch_smaller_and_are_noted_once(class_folders):
    noted = []
    root = spoil(class_folders(), "cat/1.png", "dog/2.png")
    files = files_of(root, on_bad_file="skip", note=lambda path, why: noted.append(path))
    for _ in range(2):
        images, index = files.fetch_training(torch.arange(8), key(*range(8)))
        assert index.tolist() == [0, 2, 3, 4, 5, 7]
        assert torch.equal(images, files.fetch(index)[0])
    assert sorted(noted) == [str(root / "train" / name) for name in ("cat/1.png", "dog/2.png")]


def test_replaced_files_give_way_to_the_next_that_can_be_read(class_folders):
    root = spoil(class_folders(size=(30, 20)), "cat/1.png", "cat/2.png", "dog/3.png")
    files = files_of(root, on_bad_file="replace").for_training(RandomResizedCrop())
    images, index = files.fetch_training(torch.arange(8), key(*range(8)))
    assert index.tolist() == [0, 3, 3, 3, 4, 5, 6, 0]
    assert torch.equal(images[7], images[0])  # its random crop, too, is that of the sample it is
    assert torch.equal(images[1], files.fetch_training(torch.tensor([3]), key(3))[0][0])


def test_only_training_samples_take_the_place_of_another(class_folders):
    files = files_of(spoil(class_folders(), "cat/1.png", "dog/3.png"), on_bad_file="replace")
    files = files.for_training(None, torch.tensor([0, 1, 4, 5, 7]))  # 2, 3 and 6 are set aside
    images, index = files.fetch_training(torch.tensor([1, 7]), key(1, 7))
    assert index.tolist() == [4, 0]
    assert torch.equal(images, files.fetch(index)[0])


def test_a_training_batch_with_nothing_left_has_one_replaced(class_folders):
    files = files_of(spoil(class_folders(), "cat/1.png", "cat/2.png"), on_bad_file="skip")
    assert files.fetch_training(torch.tensor([1, 2]), key(1, 2))[1].tolist() == [3]
    assert files.fetch(torch.tensor([1, 2]))[1].tolist() == []  # in evaluation none


def test_evaluation_never_counts_a_replacement(class_folders):
    files = files_of(spoil(class_folders(), "cat/1.png"), on_bad_file="replace")
    assert files.fetch(torch.arange(4))[1].tolist() == [0, 2, 3]


def test_a_folder_of_nothing_but_bad_files_ends_with_one_line(class_folders):
    root = class_folders(images=1)
    files = files_of(spoil(root, "cat/0.png", "dog/0.png"), on_bad_file="replace")
    with pytest.raises(BadFile, match="none of 2 image files can be read"):
        files.fetch_training(torch.tensor([0]), key(0))


def test_loading_leaves_out_what_cannot_be_read(class_folders):
    files = files_of(spoil(class_folders(), "dog/2.png"), on_bad_file="skip")
    held = files.load()
    assert held.targets.tolist() == [0, 1, 2, 3, 4, 5, 7]
    assert torch.equal(held.pixels, files.fetch(torch.tensor([0, 1, 2, 3, 4, 5, 7]))[0])


def test_whole_pictures_keep_their_size(class_folders):
    files = files_of(class_folders(size=(30, 20)))
    assert [picture.shape for picture in files.whole(torch.tensor([0, 5]))[0]] == [(3, 20, 30)] * 2
    assert not files.all_of_size()
    assert files_of(class_folders(name="square")).all_of_size()
