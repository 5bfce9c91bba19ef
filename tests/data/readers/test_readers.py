"""Every reader gives Pillow's pixels, of any part of any picture."""

import sys
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from convarium.data.readers import choice
from convarium.data.readers.choice import reader
from convarium.data.readers.jpeg import JpegReader, head
from convarium.data.readers.pillow import PillowReader
from convarium.data.readers.reader import Box, Misplaced, Unreadable, read_square
from convarium.errors import ConfigError
from data.bad_files import bad_files, colours, encoded, turned

PICTURE = Image.fromarray(colours(83, 131))
JPEGS = {
    "4:4:4": encoded(PICTURE, "JPEG", quality=90, subsampling=0),
    "4:2:2": encoded(PICTURE, "JPEG", quality=90, subsampling=1),
    "4:2:0": encoded(PICTURE, "JPEG", quality=75, subsampling=2),
    "grey": encoded(PICTURE.convert("L"), "JPEG", quality=90),
    "progressive 4:4:4": encoded(PICTURE, "JPEG", quality=90, subsampling=0, progressive=True),
    "progressive 4:2:0": encoded(PICTURE, "JPEG", quality=75, subsampling=2, progressive=True),
    "progressive grey": encoded(PICTURE.convert("L"), "JPEG", progressive=True),
    "restarts": encoded(PICTURE, "JPEG", restart_marker_rows=1),
    "three colours as they are": encoded(PICTURE, "JPEG", keep_rgb=True, subsampling=0),
}
PILLOW = PillowReader()


def fast(name: str) -> JpegReader:
    if name not in choice.installed():
        pytest.skip(f"{name} is not installed")
    found = reader(name).fast
    assert isinstance(found, JpegReader)
    return found


@pytest.fixture(params=choice.FAST)
def jpeg_reader(request: pytest.FixtureRequest) -> JpegReader:
    return fast(request.param)


def difference(one: torch.Tensor, other: torch.Tensor) -> int:
    assert one.dtype == other.dtype == torch.uint8
    assert one.shape == other.shape
    return int((one.int() - other.int()).abs().max())


def some_boxes(height: int, width: int, number: int) -> list[Box]:
    """At every distance from the blocks' edges; the first are at the picture's corners, one pixel, and all of it."""
    generator = np.random.default_rng(0)
    found = [Box(0, 0, 1, 1), Box(height - 1, width - 1, 1, 1), Box(0, 0, height, width), Box(0, width - 3, height, 3)]
    while len(found) < number:
        top, left = generator.integers(0, (height, width))
        tall, wide = generator.integers(1, (height - top + 1, width - left + 1))
        found.append(Box(int(top), int(left), int(tall), int(wide)))
    return found


@pytest.mark.parametrize("data", JPEGS.values(), ids=JPEGS)
def test_a_fast_reader_decodes_what_pillow_decodes(jpeg_reader: JpegReader, data: bytes) -> None:
    channels = head(data).components
    assert jpeg_reader.size(data) == PILLOW.size(data) == (83, 131)
    assert (
        difference(
            jpeg_reader.read(data, None, None, channels=channels), PILLOW.read(data, None, None, channels=channels)
        )
        <= 1
    )


@pytest.mark.parametrize("data", JPEGS.values(), ids=JPEGS)
def test_a_part_is_that_part_of_the_whole(jpeg_reader: JpegReader, data: bytes) -> None:
    whole = jpeg_reader.read(data, None, None, channels=3)
    for box in some_boxes(83, 131, 400):
        top, left, height, width = box
        part = jpeg_reader.read(data, box, None, channels=3)
        assert torch.equal(part, whole[:, top : top + height, left : left + width]), box


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kind", ["4:2:0", "grey"])
def test_parts_are_resized_within_one_grey_level_of_pillow(jpeg_reader: JpegReader, kind: str, channels: int) -> None:
    sizes = [(64, 64), (7, 5), (1, 1), (100, 150), (83, 40)]
    tolerance = 2 if kind != "grey" and channels == 1 else 1
    for number, box in enumerate(some_boxes(83, 131, 60)):
        size = sizes[number % len(sizes)]
        ours, theirs = (each.read(JPEGS[kind], box, size, channels=channels) for each in (jpeg_reader, PILLOW))
        assert ours.shape == (channels, *size)
        assert difference(ours, theirs) <= tolerance, (box, size)


def test_a_large_picture_shrinks_to_few_pixels_within_two_grey_levels(jpeg_reader: JpegReader) -> None:
    data = encoded(np.tile(colours(300, 400), (5, 5, 1)), "JPEG")
    for size in ((32, 32), (10, 7)):
        ours, theirs = (each.read(data, None, size, channels=3) for each in (jpeg_reader, PILLOW))
        assert difference(ours, theirs) <= 2


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_picture_is_read_upright(jpeg_reader: JpegReader, orientation: int) -> None:
    data = encoded(PICTURE, "JPEG", exif=turned(orientation))
    upright = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    seen = (upright.height, upright.width)
    box, size = Box(5, 11, 60, 47), (30, 40)
    expected = np.asarray(upright.crop((11, 5, 58, 65)).resize((40, 30), Image.Resampling.BILINEAR))
    for each, tolerance in ((PILLOW, 0), (jpeg_reader, 2)):
        assert each.size(data) == seen
        assert (
            difference(each.read(data, box, size, channels=3), torch.from_numpy(expected.copy()).permute(2, 0, 1))
            <= tolerance
        )
        whole = torch.from_numpy(np.array(upright)).permute(2, 0, 1)
        assert difference(each.read(data, None, None, channels=3), whole) <= 1


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (8, 8), (17, 16)])
def test_tiny_pictures_are_read(jpeg_reader: JpegReader, size: tuple[int, int], subsampling: int) -> None:
    data = encoded(colours(*size), "JPEG", subsampling=subsampling)
    for out in (None, (6, 6)):
        ours, theirs = (each.read(data, None, out, channels=3) for each in (jpeg_reader, PILLOW))
        assert difference(ours, theirs) <= 1


def test_what_a_fast_reader_leaves_to_pillow_is_refused(jpeg_reader: JpegReader) -> None:
    whole, box = JPEGS["4:2:0"], Box(0, 0, 8, 8)
    damaged = whole[: len(whole) // 2] + b"\xff\xd4" * 20 + whole[len(whole) // 2 + 40 :]
    for data in (b"", b"\xff\xd8", whole[:50], whole[:-2], whole[: len(whole) // 2], encoded(PICTURE, "PNG")):
        with pytest.raises(Unreadable):
            jpeg_reader.read(data, box, None, channels=3)
    for data in (encoded(PICTURE.convert("CMYK"), "JPEG"), whole.replace(b"\xff\xc0", b"\xff\xc9", 1)):
        with pytest.raises(Unreadable, match="not a JPEG file"):
            jpeg_reader.read(data, box, None, channels=3)
    with pytest.raises(Unreadable, match="Corrupt JPEG data"):
        jpeg_reader.read(damaged, None, None, channels=3)


@pytest.mark.parametrize("name", ["auto", *choice.FAST, "pillow"])
def test_every_bad_file_is_read_right_or_named(tmp_path, name: str) -> None:
    try:
        wanted = reader(name)
    except ConfigError:
        pytest.skip(f"{name} is not installed")
    for path, what, readable in bad_files(tmp_path / "bad"):
        try:
            data = path.read_bytes()
        except OSError:
            assert not readable, what
            continue
        if not readable:
            with pytest.raises(Unreadable) as refused:
                wanted.read(data, None, (16, 16), channels=3)
            assert str(refused.value), what
            assert "\n" not in str(refused.value)
            continue
        height, width = wanted.size(data)
        assert wanted.read(data, None, None, channels=3).shape == (3, height, width), what
        for channels in (1, 3):
            expected = PILLOW.read(data, None, (16, 16), channels=channels)
            assert difference(wanted.read(data, None, (16, 16), channels=channels), expected) <= 2, what


def test_a_cut_file_is_named_whichever_part_is_asked_for() -> None:
    cut = JPEGS["4:4:4"][:-200]
    for name in choice.installed():
        with pytest.raises(Unreadable, match="truncated"):
            reader(name).read(cut, Box(0, 0, 8, 8), None, channels=3)


def test_several_threads_read_what_one_reads() -> None:
    wanted = reader()
    jobs = [(data, box) for data in JPEGS.values() for box in some_boxes(83, 131, 30)]

    def read(job: tuple[bytes, Box]) -> torch.Tensor:
        return wanted.read(*job, (24, 24), channels=3)

    alone = [read(job) for job in jobs]
    with ThreadPoolExecutor(8) as pool:
        for one, other in zip(alone, pool.map(read, jobs), strict=True):
            assert torch.equal(one, other)


@pytest.mark.parametrize(
    "box", [Box(-1, 0, 5, 5), Box(0, 0, 84, 5), Box(80, 0, 4, 5), Box(0, 130, 5, 2), Box(0, 0, 0, 5)]
)
def test_a_box_outside_the_picture_is_the_callers_mistake(box: Box) -> None:
    for name in choice.installed():
        with pytest.raises(Misplaced, match=r"does not lie in a picture of 83 x 131"):
            reader(name).read(JPEGS["4:2:0"], box, None, channels=3)


# Pillow's own


def seen_by_pillow(picture: Image.Image, channels: int = 3, kind: str = "PNG", **options: object) -> np.ndarray:
    return PILLOW.read(encoded(picture, kind, **options), None, None, channels=channels).permute(1, 2, 0).numpy()


def test_transparency_is_dropped_and_the_colour_below_it_shows() -> None:
    colour = np.array(PICTURE)
    alpha = np.full(colour.shape[:2], 7, dtype=np.uint8)
    see_through = Image.fromarray(np.dstack((colour, alpha)))
    assert np.array_equal(seen_by_pillow(see_through), colour)
    grey = np.array(PICTURE.convert("L"))
    assert np.array_equal(seen_by_pillow(Image.fromarray(np.dstack((grey, alpha))), channels=1)[..., 0], grey)
    palette = PICTURE.quantize(16)
    assert np.array_equal(seen_by_pillow(palette, transparency=bytes(16)), np.array(palette.convert("RGB")))
    assert np.array_equal(seen_by_pillow(palette, kind="GIF", transparency=3), np.array(palette.convert("RGB")))


@pytest.mark.parametrize("kind", ["GIF", "PNG"])
def test_of_an_animation_the_first_frame_is_read(kind: str) -> None:
    frames = [PICTURE.quantize(16), PICTURE.rotate(180).quantize(16)]
    found = seen_by_pillow(frames[0], kind=kind, save_all=True, append_images=frames[1:])
    assert np.array_equal(found, np.array(frames[0].convert("RGB")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_their_high_byte(kind: str) -> None:
    deep = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    found = seen_by_pillow(Image.fromarray(deep), kind=kind)
    assert np.array_equal(found, np.repeat((deep >> 8)[..., None], 3, axis=2))


def test_a_picture_of_many_pixels_is_refused_by_its_head(recwarn, monkeypatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)  # Pillow warns up to twice that, then raises
    for name in choice.installed():
        for data in (JPEGS["4:4:4"], encoded(PICTURE, "PNG"), encoded(PICTURE.resize((200, 200)), "JPEG")):
            with pytest.raises(Unreadable, match="more than 10000 pixels"):
                reader(name).read(data, Box(0, 0, 4, 4), None, channels=3)
    assert not recwarn


def test_a_postscript_program_is_not_started() -> None:
    with pytest.raises(Unreadable, match="not a picture in a format we know"):
        PILLOW.read(encoded(PICTURE, "EPS"), None, None, channels=3)


# the choice


def test_auto_is_the_first_installed(monkeypatch) -> None:
    wanted = reader("auto")
    assert type(wanted) is type(reader(choice.installed()[0]))
    monkeypatch.setattr(choice, "FAST", dict.fromkeys(choice.FAST, absent))
    assert isinstance(reader("auto"), PillowReader)
    assert choice.installed() == ["pillow"]


def absent() -> JpegReader:
    raise ImportError("No module")


def test_a_reader_without_its_library_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "simplejpeg", None)
    with pytest.raises(
        ConfigError, match=r"data.reader=simplejpeg: simplejpeg is not installed .*'convarium\[decode\]'"
    ):
        reader("simplejpeg")


def test_a_square_of_a_whole_picture_is_the_same_for_every_reader() -> None:
    shorter, cut = 83 * 2 // 3, 32
    resized = PICTURE.resize((round(131 * 48 / 83), 48), Image.Resampling.BILINEAR)
    left, top = (resized.width - cut) // 2, (48 - cut) // 2
    expected = torch.from_numpy(np.array(resized.crop((left, top, left + cut, top + cut)))).permute(2, 0, 1)
    assert shorter > cut
    assert torch.equal(
        read_square(PILLOW, encoded(PICTURE, "PNG"), image_size=cut, crop_share=2 / 3, channels=3), expected
    )
    for name in choice.installed():
        ours, theirs = (
            read_square(each, JPEGS["4:4:4"], image_size=cut, crop_share=2 / 3, channels=3)
            for each in (reader(name), PILLOW)
        )
        assert difference(ours, theirs) <= 1
