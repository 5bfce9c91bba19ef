"""`convarium data check`: what it says of bad files, of odd ones, of pictures in two splits, of classes and sizes."""

import csv
import io
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from convarium.cli import main
from convarium.data.image_files.listing import SUFFIXES
from convarium.data.inspect.file import FORMATS, inspect_file
from convarium.data.inspect.report import inspect_folder
from convarium.data.inspect.tree import find
from convarium.data.inspect.workers import ctrl_c_waits, inspect_files
from convarium.errors import RunError
from convarium.progress_bar import Progress

NUMBERS = np.random.default_rng(0)


def picture(width: int = 40, height: int = 30) -> Image.Image:
    """Of noise, so that no two are the same."""
    return Image.fromarray(NUMBERS.integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def save(path: Path, image: Image.Image | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or picture()).save(path)
    return path


def one_bit_png(width: int, height: int) -> bytes:
    """Black, and a small file; beyond what Pillow opens only a head."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((width // 8 + 1) * height if width < 20_000 else 0))
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


JPEG, PNG = encoded(picture(), "JPEG"), encoded(picture(), "PNG")
TURNED = Image.Exif()
TURNED[0x0112] = 6

BAD = {
    "empty.jpg": (b"", "empty: 0 bytes"),
    "half.jpg": (JPEG[: len(JPEG) // 2], "truncated: "),
    "half.png": (PNG[: len(PNG) // 2], "truncated"),
    "head.jpg": (JPEG[:200], "truncated"),
    "half.gif": (encoded(picture(), "GIF")[:1500], "truncated: "),
    "half.bmp": (encoded(picture(), "BMP")[:1500], "truncated: "),
    "half.tif": (encoded(picture(), "TIFF")[:1500], "truncated: "),
    "half.webp": (encoded(picture(), "WEBP")[:300], "damaged: could not create decoder object"),
    "flipped.png": (PNG[:400] + bytes(100) + PNG[500:], "damaged: broken data stream"),
    "page.jpg": (b"<!DOCTYPE html><html>", "not a picture: a web page"),
    "pointer.png": (b"version https://git-lfs.github.com/spec/v1\n", "not a picture: a pointer of Git LFS"),
    "script.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture: PostScript"),
    "text.bmp": (b"hello", "not a picture: of no format we read"),
    "large.png": (one_bit_png(10_000, 9_000), "too large: 10000x9000 is more than 89478485 pixels"),
    "bomb.png": (one_bit_png(30_000, 30_000), "too large: Image size (900000000 pixels) exceeds limit"),
}
ODD = {
    "png.jpg": (PNG, "other format", "is PNG, named .jpg"),
    "cmyk.jpg": (encoded(picture().convert("CMYK"), "JPEG"), "CMYK", "four inks, read as colour"),
    "deep.png": (
        encoded(Image.fromarray(NUMBERS.integers(0, 65536, (9, 9)).astype(np.uint16)), "PNG"),
        "16-bit",
        "16 bits a channel, read as 8",
    ),
    "float.tiff": (
        encoded(Image.fromarray(NUMBERS.random((9, 9)).astype(np.float32)), "TIFF"),
        "16-bit",
        "32 bits a channel, read as 8",
    ),
    "palette.png": (encoded(picture().convert("P"), "PNG"), "palette", "numbers of a palette, read as colour"),
    "alpha.png": (encoded(picture().convert("RGBA"), "PNG"), "alpha", "transparency, dropped when read"),
    "turned.jpg": (encoded(picture(), "JPEG", exif=TURNED), "rotated", "EXIF orientation 6"),
    "moving.webp": (
        encoded(picture(), "WEBP", save_all=True, append_images=[picture(), picture()]),
        "several pictures",
        "3 in one file, the first is read",
    ),
    "dot.png": (encoded(picture(1, 1), "PNG"), "1 pixel", "1x1"),
    "cut.jpg": (
        JPEG[: len(JPEG) // 2] + b"\xff\xd9",
        "grey end",
        "its last row is the grey that stands for missing data",
    ),
}
PLAIN = {
    "plain.jpg": JPEG,
    "plain.png": PNG,
    "progressive.jpg": encoded(picture(), "JPEG", progressive=True),
    "grey.pgm": encoded(picture().convert("L"), "PPM"),
    "bits.png": encoded(picture().convert("1"), "PNG"),
}


class Outcome(NamedTuple):
    """What a command left on its way out."""

    code: object
    out: str
    err: str


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run `convarium data check` in this process, decoding in it too unless told otherwise."""

    def run(*words: object) -> Outcome:
        workers = [] if any("workers=" in str(word) or "data=" in str(word) for word in words) else ["workers=0"]
        monkeypatch.setattr(sys, "argv", ["convarium", "data", "check", *map(str, words), *workers])
        with pytest.raises(SystemExit) as end:
            main()
        return Outcome(end.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two splits of two classes, nothing wrong with any of it."""
    for split, number in (("train", 3), ("test", 2)):
        for label in ("cat", "dog"):
            for k in range(number):
                save(tmp_path / "set" / split / label / f"{k}.png")
    return tmp_path / "set"


# one file


def test_every_suffix_that_training_reads_has_a_format() -> None:
    assert FORMATS.keys() == SUFFIXES


@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_told_with_the_reason(name: str, tmp_path: Path) -> None:
    data, why = BAD[name]
    (tmp_path / name).write_bytes(data)
    found = inspect_file(str(tmp_path / name))
    assert found.bad.startswith(why)
    assert found._replace(bad="") == (len(data), 0, 0, "", b"", (), "")


@pytest.mark.parametrize("name", ODD)
def test_an_odd_file_decodes_and_has_a_note(name: str, tmp_path: Path) -> None:
    data, kind, detail = ODD[name]
    (tmp_path / name).write_bytes(data)
    found = inspect_file(str(tmp_path / name))
    assert found.bad == ""
    assert found.notes == ((kind, detail),)


@pytest.mark.parametrize("name", PLAIN)
def test_there_is_nothing_to_say_of_a_plain_file(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(PLAIN[name])
    found = inspect_file(str(tmp_path / name))
    assert (found.width, found.height, found.notes, found.bad) == (40, 30, (), "")


def test_a_file_that_is_none_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    assert inspect_file(str(tmp_path / "pipe.jpg")).bad == "unreadable: not a file but a folder, pipe, socket or device"
    assert inspect_file(str(tmp_path / "gone.jpg")).bad == "unreadable: it is gone"


def test_a_picture_on_its_side_has_the_size_that_a_person_sees(tmp_path: Path) -> None:
    (tmp_path / "turned.jpg").write_bytes(ODD["turned.jpg"][0])
    found = inspect_file(str(tmp_path / "turned.jpg"))
    assert (found.width, found.height) == (30, 40)


def test_the_same_pixels_have_the_same_digest_in_every_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = picture()
    paths = [save(tmp_path / name, image) for name in ("a.png", "a.bmp", "a.tiff", "a.ppm")]
    paths.append(save(tmp_path / "alpha.png", image.convert("RGBA")))
    whole = {inspect_file(str(path)).digest for path in paths}
    monkeypatch.setattr("convarium.data.inspect.file._BAND", 200)  # five rows at a time
    assert {inspect_file(str(path)).digest for path in paths} == whole
    assert len(whole) == 1
    assert inspect_file(str(save(tmp_path / "other.png"))).digest not in whole
    assert inspect_file(str(save(tmp_path / "wide.png", image.copy()))).digest in whole


# a folder


def test_a_sound_folder_is_told_in_a_few_lines(check: Callable[..., Outcome], root: Path) -> None:
    (root / "notes.txt").write_text("mine")
    code, out, err = check(root)
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == str(root)
    assert lines[1].startswith("10 pictures, ")
    assert lines[2:] == [
        "1 other file: 1 .txt",
        "",
        "       pictures  classes  smallest   largest  ratio",
        "train         6        2  all alike  3         1.00",
        "test          4        2  all alike  2         1.00",
        "",
        "all 40x30 pixels",
        "",
        "every file decodes, and no picture is in two splits",
    ]


def test_no_bad_file_stops_a_scan_and_each_is_named(check: Callable[..., Outcome], root: Path) -> None:
    for name, (data, _) in BAD.items():
        (root / "train" / "cat" / name).write_bytes(data)
    code, out, _ = check(root, "--json")
    told = json.loads(out)
    assert code == told["exit_code"] == 1
    assert {Path(row["path"]).name for row in told["bad"]} == BAD.keys()
    assert told["pictures"] == 10 + len(BAD)
    assert told["modes"] == {"RGB": 10}


def test_processes_find_what_one_finds(root: Path) -> None:
    for name, data in (*BAD.items(), *ODD.items()):
        (root / "train" / "cat" / name).write_bytes(data[0])
    for k in range(70):
        save(root / "train" / "dog" / f"more{k}.png")
    alone, together = (inspect_folder(root, workers=number, progress=Progress()) for number in (0, 2))
    for name in ("pictures", "bytes", "bad", "notes", "same", "classes", "modes", "others"):
        assert getattr(alone, name) == getattr(together, name)
    assert np.array_equal(alone.heights, together.heights)


def test_long_lists_are_cut_and_a_file_has_all(check: Callable[..., Outcome], root: Path, tmp_path: Path) -> None:
    for k in range(12):
        (root / "train" / "cat" / f"e{k:02}.png").write_bytes(b"")
    out = check(root).out
    assert "bad: 12 files (12 empty)\n  train/cat/e00.png  empty: 0 bytes\n" in out
    assert "  and 2 more (to=FILE.csv writes all)\n" in out
    assert out.endswith("\n12 bad files\n")
    out = check(root, f"to={tmp_path / 'found.csv'}").out
    assert out.endswith(f"\n12 bad files; all issues are in {tmp_path / 'found.csv'}\n")
    heading, *rows = csv.reader((tmp_path / "found.csv").read_text().splitlines())
    assert heading == ["kind", "path", "detail"]
    assert rows == [["bad", f"train/cat/e{k:02}.png", "empty: 0 bytes"] for k in range(12)]
    assert {path.name for path in tmp_path.iterdir()} == {"set", "found.csv"}


def test_a_name_cannot_give_orders_to_the_terminal(check: Callable[..., Outcome], root: Path) -> None:
    (root / "train" / "cat" / "\x1b[31m\n.png").write_bytes(b"")
    (root / "train" / "cat" / os.fsdecode(b"\xff.png")).write_bytes(b"")
    out = check(root).out
    assert "train/cat/\\x1b[31m\\x0a.png" in out
    assert "train/cat/\\xff.png" in out


# links


def test_links_that_lead_nowhere_or_back_are_bad_and_end(root: Path) -> None:
    cats = root / "train" / "cat"
    (cats / "up").symlink_to("..")
    (cats / "self.png").symlink_to("self.png")
    (cats / "gone.png").symlink_to("nowhere.png")
    tree = find(str(root))
    assert len(tree.paths) == 10
    assert [issue[1:] for issue in tree.bad] == [
        ("train/cat/gone.png", "broken link to nowhere.png"),
        ("train/cat/self.png", "link loop: leads back to itself"),
        ("train/cat/up", f"link loop: leads back to {root / 'train'}"),
    ]


def test_a_folder_elsewhere_is_followed_once(root: Path, tmp_path: Path) -> None:
    save(tmp_path / "elsewhere" / "0.png")
    (root / "train" / "emu").symlink_to(tmp_path / "elsewhere")
    (root / "test" / "emu").symlink_to(tmp_path / "elsewhere")
    tree = find(str(root))
    assert [path for path in tree.paths if "emu" in path] == ["train/emu/0.png"]
    assert tree.shared == [("test/emu", "train/emu")]


def test_a_split_that_is_a_link_to_another_is_a_picture_in_two_splits(
    check: Callable[..., Outcome], root: Path
) -> None:
    (root / "val").symlink_to("train")
    code, out, _ = check(root)
    assert code == 1
    assert "the same picture in two splits: 1\n  val  is the folder train\n" in out


# the same picture twice


def test_a_picture_in_two_splits_comes_first(check: Callable[..., Outcome], root: Path) -> None:
    dog = Image.open(root / "train" / "dog" / "0.png")
    save(root / "train" / "dog" / "again.png", Image.open(root / "train" / "dog" / "1.png"))
    save(root / "train" / "cat" / "dog.png", Image.open(root / "train" / "dog" / "2.png"))
    save(root / "test" / "cat" / "copy.bmp", dog)
    code, out, _ = check(root)
    assert code == 1
    found = out[out.index("the same") :]
    assert found == (
        "the same picture in two splits: 1\n"
        "  train/dog/0.png = test/cat/copy.bmp  (dog, cat)\n\n"
        "the same picture in two classes: 1\n"
        "  train/cat/dog.png = train/dog/2.png  (cat, dog)\n\n"
        "the same picture twice: 1\n"
        "  train/dog/1.png = train/dog/again.png\n\n"
        "1 picture in two splits\n"
    )
    [first, *_] = json.loads(check(root, "--json").out)["same_pixels"]
    assert first == {
        "paths": ["train/dog/0.png", "test/cat/copy.bmp"],
        "splits": ["train", "test"],
        "classes": ["dog", "cat"],
        "across_splits": True,
    }


def test_a_picture_twice_in_one_split_is_no_error(check: Callable[..., Outcome], root: Path) -> None:
    for k in range(5):
        save(root / "train" / "dog" / f"black{k}.png", Image.new("RGB", (40, 30)))
    code, out, _ = check(root)
    assert code == 0
    names = " = ".join(f"train/dog/black{k}.png" for k in range(3))
    assert f"the same picture twice: 1\n  {names} = 2 more\n" in out


# classes and sizes


def test_classes_that_a_split_lacks_and_empty_folders_are_named(check: Callable[..., Outcome], root: Path) -> None:
    save(root / "train" / "emu" / "0.png")
    (root / "test" / "fox").mkdir()
    told = json.loads(check(root, "--json").out)
    assert told["classes"] == {
        "train": {"cat": 3, "dog": 3, "emu": 1, "fox": 0},
        "test": {"cat": 2, "dog": 2, "emu": 0, "fox": 0},
    }
    assert told["without_pictures"] == ["train/fox", "test/emu", "test/fox"]
    assert "train         7        4  0 fox     3 cat        -" in check(root).out


def test_pictures_that_training_would_not_read_are_named(root: Path) -> None:
    save(root / "loose.png")
    save(root / "train" / "loose.png")
    save(root / "more" / "cat" / "0.png")
    save(root / ".thumbnails" / "0.png")
    found = inspect_folder(root, workers=0, progress=Progress())
    assert [note[1:] for note in found.notes] == [
        ("loose.png", "in none of the splits"),
        ("train/loose.png", "in no class folder"),
        ("more/cat/0.png", "in none of the splits"),
    ]


def test_splits_are_those_that_training_reads(check: Callable[..., Outcome], root: Path) -> None:
    (root / "Valid").mkdir()
    shutil.copytree(root / "train" / "cat", root / "Valid" / "cat")
    assert json.loads(check(root, "--json").out)["classes"].keys() == {"train", "val", "test"}
    (root / "train").rename(root / "Training")
    assert "\n  Training/cat/0.png = Valid/cat/0.png" in check(root).out
    save(root / "val" / "cat" / "0.png")
    refused = check(root)
    assert (refused.code, refused.err) == (
        2,
        f"error: data.root={root}: Valid and val both look like the split val; keep one\n",
    )


def test_class_folders_alone_and_pictures_alone_are_datasets_too(check: Callable[..., Outcome], root: Path) -> None:
    told = json.loads(check(root / "train", "--json").out)
    assert told["classes"] == {"": {"cat": 3, "dog": 3}}
    told = json.loads(check(root / "train" / "cat", "--json").out)
    assert (told["classes"], told["pictures"], told["notes"]) == ({}, 3, [])


def test_sizes_are_drawn_by_the_shorter_side(check: Callable[..., Outcome], tmp_path: Path) -> None:
    for k, size in enumerate([(30, 40)] * 3 + [(300, 200), (1, 500)]):
        save(tmp_path / "set" / "cat" / f"{k}.png", picture(*size))
    out = check(tmp_path / "set").out
    assert (
        "shorter side  1 to 200 pixels, median 30\n"
        "width/height  0.002 to 1.5, median 0.75\n"
        "most common   30x40: 60%\n"
        "        1  1  ███████████\n"
        "    16-31  3  ████████████████████████████████\n"
        "  192-223  1  ███████████\n"
    ) in out


# datasets by name


def test_a_dataset_in_memory_is_checked_as_training_reads_it(check: Callable[..., Outcome]) -> None:
    told = json.loads(check("data=digits", "--json").out)
    assert {split: sum(counts.values()) for split, counts in told["classes"].items()} == {"train": 1500, "test": 297}
    assert (told["sizes"], told["bad"]) == ({"32x32": 1797}, [])
    assert told["exit_code"] == 0


def test_a_picture_in_two_splits_of_a_dataset_in_memory_is_found(
    check: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    from convarium.data.datasets.digits import Digits

    read = Digits.read

    def leaking(self: Digits, split: str) -> Any:
        source = read(self, split)
        if split == "test" and source is not None:
            train = read(self, "train")
            assert train is not None
            source.pixels[7] = train.pixels[3]
        return source

    monkeypatch.setattr(Digits, "read", leaking)
    code, out, _ = check("data=digits")
    assert code == 1
    assert "the same picture in two splits: 1\n  train[3] = test[7]  " in out


def test_a_dataset_of_folders_is_checked_where_it_lies_bad_files_and_all(
    check: Callable[..., Outcome], root: Path
) -> None:
    (root / "train" / "cat" / "0.png").write_bytes(b"")  # the yaml's facts cannot be read off this one
    code, out, _ = check("folder", f"data.root={root}")
    assert code == 1
    assert "  train/cat/0.png  empty: 0 bytes\n" in out


# wrong input


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "no folder or dataset given; usage: convarium data check ROOT|TABLE.csv|NAME"),
        (["nowhere"], "nowhere: no such folder or dataset. Datasets: "),
        (["mnits"], "mnits: no such folder or dataset; did you mean 'mnist'? Datasets: "),
        (["data=mnits"], "mnits: unknown dataset; did you mean 'mnist'? Datasets: "),
        (
            ["a.txt"],
            "data.root=a.txt: a file; accepted: a folder of class folders of images, or a table of paths and labels",
        ),
        (["set"], "set: no pictures in this folder or below (it is empty)"),
        (["."], ".: no pictures in this folder or below (there are: 1 .txt)"),
        (["set", "set"], "set: one too many; usage: "),
        (["set", "wrokers=2"], "wrokers: not accepted; did you mean 'workers'? One of: workers, format, to"),
        (["set", "data.root=x"], "data.root: not accepted. One of: workers, format, to"),
        (["set", "workers=two"], "workers=two: expected a whole number"),
        (["set", "format=yaml"], "format=yaml: unknown. One of: text, json"),
        (["set", "to=no/found.csv"], "to=no/found.csv: expected the name of a file that ends in .csv, in a folder"),
        (["set", "to=found.txt"], "to=found.txt: expected the name of a file that ends in .csv"),
        (["mnist", "data.rot=x"], "data.rot: no such key in data=mnist; did you mean 'root'?"),
        (["folder", "data.root=nowhere"], "data.root=nowhere: no such folder"),
    ],
)
def test_wrong_words_are_refused_in_one_line(
    check: Callable[..., Outcome], tmp_path: Path, words: list[str], says: str
) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "a.txt").write_text("x")
    code, out, err = check(*words)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {says}")
    assert err.count("\n") == 1


def test_an_unknown_action_on_data_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["convarium", "data", "chek"])
    with pytest.raises(SystemExit):
        main()
    assert capsys.readouterr().err.startswith("error: chek: unknown; did you mean 'check'? One of: fetch, check, ")


# processes


def test_a_decoder_that_crashes_takes_its_file_with_it_and_no_other() -> None:
    words = [str(number) for number in range(200)]
    words[50] = words[130] = "__import__('os')._exit(9)"
    found = dict(inspect_files("", words, 2, eval))  # "decodes" by evaluating the name
    assert found.keys() == set(range(200))
    assert [number for number, answer in found.items() if answer != number] in ([50, 130], [130, 50])
    assert found[50].bad == "damaged: the decoder crashed on it, or ran out of memory"


def test_a_process_that_cannot_start_is_no_bad_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("convarium.data.inspect.workers._begin", partial(os._exit, 3))
    with pytest.raises(RunError, match=r"a process to decode pictures in could not start"):
        list(inspect_files("", ["a.png"], 1))


def test_ctrl_c_waits_until_a_process_has_started_whichever_thread_takes_it() -> None:
    before, now, started = signal.getsignal(signal.SIGINT), threading.Event(), []

    def take() -> None:
        now.wait()
        signal.raise_signal(signal.SIGINT)

    def start() -> None:
        with ctrl_c_waits():
            now.set()
            thread.join()
            started.append(True)

    thread = threading.Thread(target=take)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        start()
    assert started
    assert signal.getsignal(signal.SIGINT) is before


CHECK = "import sys; sys.argv[0] = 'convarium'; from convarium.cli import main; main()"


def children(pid: int) -> set[int]:
    return {int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}


def alive(pids: set[int]) -> Iterator[int]:
    for pid in pids:
        status = Path(f"/proc/{pid}/stat")
        if status.exists() and status.read_text().rpartition(")")[2].split()[0] != "Z":
            yield pid


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks at processes as Linux shows them")
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_nothing_is_left_behind(root: Path, signum: int, code: int) -> None:
    large = one_bit_png(9_000, 9_000)
    for k in range(300):
        (root / "train" / "cat" / f"large{k}.png").write_bytes(large)
    command = [sys.executable, "-c", CHECK, "data", "check", str(root), "workers=2"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    began = time.monotonic()
    while len(found := children(process.pid)) < 3 and time.monotonic() < began + 30:  # a tracker of theirs beside them
        time.sleep(0.02)
    os.killpg(process.pid, signum) if signum == signal.SIGINT else process.send_signal(signum)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "")
    if signum == signal.SIGINT:  # a worker that is still starting when we are killed says that nobody is there
        assert err == "interrupted\n"
    while list(alive(found)) and time.monotonic() < began + 60:
        time.sleep(0.02)
    assert list(alive(found)) == []


# progress


def test_progress_is_a_line_now_and_then_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with Progress(seconds=0.0) as progress:
        progress.say("looking")
        progress.begin(40, "pictures")
        for _ in range(40):
            progress.advance(note="3 bad")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[:2] for line in lines] == [[f"{done} of 40 pictures", "3 bad"] for done in range(1, 41)]


def test_a_table_is_checked_by_its_own_splits_and_labels(tmp_path: Path) -> None:
    shared = picture()
    for name in ("one", "two", "three"):
        save(tmp_path / "pictures" / f"{name}.png", shared if name != "two" else None)
    rows = "pictures/one.png,cat,train\npictures/two.png,dog,train\npictures/three.png,cat,test\n"
    (tmp_path / "labels.csv").write_text(f"path,label,split\n{rows}")
    report = inspect_folder(tmp_path / "labels.csv", workers=0, progress=Progress())
    assert report.classes == {"train": {"cat": 1, "dog": 1}, "test": {"cat": 1, "dog": 0}}
    [same] = (same for same in report.same if same.kind == "in two splits")
    assert same.paths == ("pictures/one.png", "pictures/three.png")
    assert report.exit_code == 1
