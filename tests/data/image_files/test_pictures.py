import re

import numpy as np
import pytest
import torch
from PIL import Image

from convarium.data.image_files.pictures import pad_to, read_picture, resize_to
from data.bad_files import bad_files


def save(path, pixels, **options):
    Image.fromarray(pixels).save(path, **options)
    return path


COLOURS = np.random.default_rng(0).integers(0, 256, (10, 10, 3), dtype=np.uint8)


def test_an_image_of_the_right_size_is_read_as_it_is(tmp_path):
    pixels = read_picture(save(tmp_path / "a.png", COLOURS), channels=3, image_size=10)
    assert torch.equal(pixels, torch.from_numpy(COLOURS).permute(2, 0, 1))
    assert pixels.is_contiguous()


def test_grey_becomes_three_channels_and_colour_becomes_grey(tmp_path):
    grey = save(tmp_path / "grey.png", COLOURS[..., 0])
    assert torch.equal(
        read_picture(grey, channels=3, image_size=10), torch.from_numpy(COLOURS[..., 0]).expand(3, 10, 10)
    )
    colour = save(tmp_path / "colour.png", COLOURS)
    assert read_picture(colour, channels=1, image_size=10).shape == (1, 10, 10)


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA", "1", "CMYK"])
def test_every_pillow_mode_is_read(tmp_path, mode):
    suffix = "tif" if mode == "CMYK" else "png"
    Image.fromarray(COLOURS).convert(mode).save(tmp_path / f"a.{suffix}")
    assert read_picture(tmp_path / f"a.{suffix}", channels=3, image_size=10).shape == (3, 10, 10)


def test_sixteen_bit_grey_keeps_its_high_byte(tmp_path):
    deep = np.arange(0, 65536, 656, dtype=np.uint16)[:100].reshape(10, 10)
    pixels = read_picture(save(tmp_path / "deep.png", deep), channels=1, image_size=10)
    assert np.array_equal(pixels[0].numpy(), deep >> 8)


def test_the_shorter_side_is_resized_and_the_centre_kept(tmp_path):
    wide = np.zeros((20, 60, 3), dtype=np.uint8)
    wide[:, 20:40] = 200  # the central square
    pixels = read_picture(save(tmp_path / "wide.png", wide), channels=3, image_size=10)
    assert pixels.shape == (3, 10, 10)
    assert (pixels[:, :, 1:-1] == 200).all()


def test_a_crop_share_keeps_that_part_of_the_shorter_side(tmp_path):
    framed = np.zeros((40, 40, 3), dtype=np.uint8)
    framed[10:30, 10:30] = 200
    pixels = read_picture(save(tmp_path / "framed.png", framed), channels=3, image_size=10, crop_share=0.5)
    assert (pixels[:, 1:-1, 1:-1] == 200).all()


def test_an_unreadable_image_is_named(tmp_path):
    for name, content in (("text.png", b"not a picture"), ("cut.png", None)):
        path = tmp_path / name
        if content is None:
            save(path, np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
            content = path.read_bytes()[:500]
        path.write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}: unreadable image"):
            read_picture(path, channels=3, image_size=10)
    with pytest.raises(ValueError, match=r"nowhere\.png: no such image"):
        read_picture(tmp_path / "nowhere.png", channels=3, image_size=10)


def test_channels_other_than_grey_and_colour_are_refused(tmp_path):
    with pytest.raises(ValueError, match="channels=4: accepted are 1, 3"):
        read_picture(save(tmp_path / "a.png", COLOURS), channels=4, image_size=10)


def test_padding_centres_the_image_in_background():
    image = torch.full((2, 1, 3, 3), 7, dtype=torch.uint8)
    padded = pad_to(image, 6)
    assert torch.equal(padded[:, :, 1:4, 1:4], image)
    assert padded.sum() == image.sum()


def test_bilinear_enlargement_keeps_means_and_stays_within_the_values():
    image = torch.tensor([[0, 255], [255, 0]], dtype=torch.uint8).view(1, 1, 2, 2)
    large = resize_to(image, 8)
    assert large.dtype == torch.uint8
    assert large[0, 0, 0, 0] == 0
    assert large[0, 0, 0, -1] == 255
    assert abs(large.float().mean() - 127.5) < 1


def test_shrinking_averages():
    checks = (torch.arange(64).view(8, 8).sum(0, keepdim=True) * 0 + torch.arange(8).view(8, 1)) % 2 * 254
    small = resize_to(checks.to(torch.uint8).view(1, 1, 8, 8), 2)
    assert ((small.float() - 127).abs() < 20).all()


def test_a_turned_photograph_is_read_upright(tmp_path):
    wide = np.zeros((20, 40, 3), dtype=np.uint8)
    wide[:, 20:] = 200
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held upright: the left side is the top
    pixels = read_picture(save(tmp_path / "turned.png", wide, exif=exif), channels=3, image_size=20)
    assert (pixels[:, :9] == 0).all()
    assert (pixels[:, 11:] == 200).all()


def test_every_bad_file_is_read_or_named(tmp_path):
    for path, what, readable in bad_files(tmp_path / "bad"):
        if readable:
            assert read_picture(path, channels=3, image_size=8).shape == (3, 8, 8), what
        else:
            with pytest.raises(ValueError, match=re.escape(f"{path}: ")):
                read_picture(path, channels=3, image_size=8)
