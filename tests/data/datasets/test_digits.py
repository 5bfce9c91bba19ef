import numpy as np
import pytest
import torch
from PIL import Image

from convarium.data.datasets.digits import FILE, Digits


def digits(**options):
    facts = {"num_classes": 10, "channels": 1, "image_size": 32, "stored_size": 8, "mean": [0.305], "std": [0.3234]}
    return Digits(**{**facts, "train_size": 1500, "test_size": 297, **options})


def test_the_file_holds_the_published_images():
    # class distribution of optdigits.tes in UCI's own description
    with np.load(FILE, allow_pickle=False) as file:
        assert file["images"].shape == (1797, 8, 8)
        assert file["images"].max() == 16
        assert np.bincount(file["targets"]).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert FILE.stat().st_size < 100_000
    assert "CC BY 4.0" in (FILE.parent / "README.md").read_text()


def test_the_splits_have_their_sizes_and_share_no_image():
    data = digits()
    data.setup("fit")
    assert (data.num_train, data.num_val, data.num_test, data.test_is_val) == (1350, 150, 297, False)
    train, test = (source.pixels.flatten(1).tolist() for source in (data._train, data._test))
    assert not {tuple(image) for image in train} & {tuple(image) for image in test}


def test_every_digit_is_in_the_test_split_in_proportion():
    counts = torch.bincount(digits()._test.targets)
    assert counts.tolist() == [29, 30, 29, 30, 30, 30, 30, 30, 29, 30]


def test_the_whole_range_of_grey_is_used():
    stored = digits(image_size=8)._train.pixels
    assert stored.shape == (1500, 1, 8, 8)
    assert sorted(set(stored.flatten().tolist())) == [round(count * 255 / 16) for count in range(17)]


def test_the_enlarged_image_averages_back_to_the_stored_one():
    stored, large = digits(image_size=8)._train.pixels, digits()._train.pixels
    assert large.shape == (1500, 1, 32, 32)
    back = torch.nn.functional.avg_pool2d(large.float(), 4)
    correlation = torch.corrcoef(torch.stack([back.flatten(), stored.float().flatten()]))[0, 1]
    assert correlation > 0.97


def test_the_split_seed_chooses_validation_and_leaves_test_alone():
    first, other = digits(), digits(split_seed=1)
    assert not torch.equal(first._members[1], other._members[1])
    assert torch.equal(first._test.pixels, other._test.pixels)


def test_a_saved_digit_is_read_back_as_the_dataset_has_it(tmp_path):
    data = digits()
    with np.load(FILE, allow_pickle=False) as file:
        first = np.flatnonzero(~file["test"])[0]
        Image.fromarray((file["images"][first] * (255 / 16)).round().astype(np.uint8)).save(tmp_path / "digit.png")
    assert torch.equal(data.open_image(tmp_path / "digit.png"), data._train.pixels[0])


def test_a_yaml_that_states_another_size_is_refused():
    with pytest.raises(ValueError, match=r"data.train_size=1501: but train has 1500 images"):
        digits(train_size=1501).setup()
    with pytest.raises(ValueError, match=r"data.stored_size=9: images are \(1, 8, 8\), not \(1, 9, 9\)"):
        digits(stored_size=9).setup()
