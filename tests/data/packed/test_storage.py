import re
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import fsspec
import pytest
import torch
from fsspec.implementations.memory import MemoryFileSystem

from convarium.data.loaders import TrainBatches
from convarium.data.packed import storage
from convarium.data.packed.storage import Folder, Range, open_storage
from convarium.errors import ConfigError, MissingData
from data.packed.packs import packed_of

EVERY = torch.arange(12)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(storage, "PAUSES", (0.0, 0.0))


def images(root, **options):
    return packed_of(root, **options).read("train").fetch(EVERY)[0]


# a web server


class Ranges(BaseHTTPRequestHandler):
    """Files with byte ranges; `obeys` false: without."""

    protocol_version = "HTTP/1.1"

    def __init__(self, folder: Path, obeys: bool, *rest) -> None:
        self.folder, self.obeys = folder, obeys
        super().__init__(*rest)

    def do_GET(self) -> None:
        path = self.folder / self.path.strip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data, status = path.read_bytes(), 200
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if asked and self.obeys:
            data, status = data[int(asked[1]) : int(asked[2]) + 1], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *rest) -> None:
        pass


@pytest.fixture
def served(packed) -> Iterator[partial]:
    """Starts a server of the packed folder; its URL."""
    servers = []

    def serve(obeys: bool = True) -> str:
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, packed, obeys)))
        Thread(target=servers[-1].serve_forever, args=(0.01,)).start()
        return f"http://127.0.0.1:{servers[-1].server_port}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_images_from_a_web_server_are_those_from_the_disk(packed, served):
    assert torch.equal(images(served()), images(packed))


def test_a_web_server_that_ignores_ranges_is_found_out(served):
    with pytest.raises(ConfigError, match=r"train-0000\d\.\w+ \(bytes \d+ to \d+\): \d+ bytes came \(a server that"):
        images(served(obeys=False))


def test_a_file_that_a_server_does_not_have_is_named(packed, served):
    url = served()
    (packed / "train.index.safetensors").unlink()
    with pytest.raises(MissingData, match=rf"data.root={url}: no file train\.index\.safetensors"):
        images(url)


def test_a_url_that_was_not_packed_is_told_how_to_be(served):
    with pytest.raises(MissingData, match=r"no packed dataset there \(no packed\.json\)"):
        images(f"{served()}/elsewhere")


# object stores


def test_the_images_from_a_store_are_those_from_the_disk(packed, in_memory):
    assert torch.equal(images(in_memory), images(packed))


def test_a_file_url_is_a_path(packed):
    assert isinstance(open_storage(f"file://{packed}"), Folder)
    assert torch.equal(images(f"file://{packed}"), images(packed))


@pytest.mark.parametrize(
    ("url", "message"), [("nowhere://x", "Protocol not known: nowhere"), ("abfs://x/y", r"[Ii]nstall adlfs")]
)
def test_a_store_that_we_cannot_reach_is_told_why(url, message):
    with pytest.raises(ConfigError, match=rf"data.root={url}: .*{message}"):
        open_storage(url)


class Instrumented(MemoryFileSystem):
    """Memory that notes which bytes are asked for, and fails now and then."""

    asked: list[tuple[str, int, int]] = []  # noqa: RUF012
    failing = 0

    def cat_file(self, path, start=None, end=None, **options):
        if start is not None:
            type(self).asked.append((path, start, end))
            if type(self).failing > 0:
                type(self).failing -= 1
                raise OSError("slow down")
        return super().cat_file(path, start=start, end=end, **options)


@pytest.fixture
def instrumented(in_memory):
    """The store's URL, and the file system behind it."""
    fsspec.register_implementation("memory", Instrumented, clobber=True)
    Instrumented.asked, Instrumented.failing = [], 0
    yield in_memory
    fsspec.register_implementation("memory", MemoryFileSystem, clobber=True)


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_each_rank_fetches_its_own_samples_and_nothing_else(instrumented, world_size):
    source = packed_of(instrumented).read("train")
    index, lengths = source.shards.index, source.shards.index.length
    seen: list[set] = []
    for rank in range(world_size):
        Instrumented.asked = []
        loader = TrainBatches(source, EVERY, batch_size=4, seed=1, world_size=world_size, rank=rank)
        own = [sample for batch in loader for sample in batch.index.tolist()]
        ranges = {(path.rpartition("/")[2], start, end) for path, start, end in Instrumented.asked}
        assert sum(end - start for _, start, end in Instrumented.asked) <= sum(int(lengths[i]) for i in own)
        for name, start, end in ranges:
            within = (index.offset <= start) & (end <= index.offset + index.length)
            named = [source.shards.names[shard] == name for shard in index.shard]
            assert any(within[i] and named[i] for i in own)
        assert len(Instrumented.asked) == len(own) == 12 // world_size
        seen.append(ranges)
    assert sum(map(len, seen)) == len(set().union(*seen)) == 12


@pytest.mark.parametrize("store", ["raw"], indirect=True)
def test_of_pixels_only_the_rows_of_the_crop_are_fetched(instrumented):
    class Middle:
        def boxes(self, sizes, key, image_size):
            return torch.tensor([[4, 3, 5, 6]]).expand(len(sizes), 4)

    from convarium.data.augment.change import AugmentKey

    source = packed_of(instrumented).read("train").for_training(Middle())
    source.fetch_training(EVERY, AugmentKey(0, 0, EVERY))[0]
    assert {end - start for _, start, end in Instrumented.asked} == {5 * 24 * 3}  # of 16 rows of 24 pixels


def test_what_fails_now_and_then_is_asked_for_again(instrumented, packed):
    Instrumented.failing = 2
    assert torch.equal(images(instrumented), images(packed))
    assert len(Instrumented.asked) > 12


def test_what_fails_every_time_is_named(instrumented):
    Instrumented.failing = 1000
    with pytest.raises(ConfigError, match=r"cannot read train-0000\d\.\w+ \(bytes \d+ to \d+\): slow down"):
        images(instrumented)


def test_a_shard_that_is_not_in_the_store_is_named(in_memory, packed):
    source = packed_of(in_memory).read("train")
    [shard] = packed.glob("train-00000.*")
    fsspec.filesystem("memory").rm(f"{in_memory.removeprefix('memory:/')}/{shard.name}")
    with pytest.raises(MissingData, match=rf"data.root={in_memory}: no file {shard.name}"):
        source.fetch(EVERY)[0]


@pytest.mark.parametrize("store", ["jpeg"], indirect=True)
def test_bytes_that_changed_on_their_way_are_noticed(in_memory, packed):
    source = packed_of(in_memory).read("train")
    [shard] = packed.glob("train-00000.*")
    data = bytearray(shard.read_bytes())
    data[600] ^= 1
    fsspec.filesystem("memory").pipe_file(f"{in_memory.removeprefix('memory:/')}/{shard.name}", bytes(data))
    with pytest.raises(ConfigError, match=r"sample 0 in train-00000\.tar \(bytes 512 to \d+\): its checksum differs"):
        source.fetch(EVERY)[0]


# a disk


def test_a_shard_that_is_cut_short_while_we_read_is_named(packed):
    source = packed_of(packed).read("train")
    [shard] = packed.glob("train-00000.*")
    with shard.open("r+b") as file:
        file.truncate(700)
    with pytest.raises(ConfigError, match=r"train-00000\.\w+ \(bytes \d+ to \d+\) ends after \d+ of \d+: cut short"):
        source.fetch(EVERY)[0]


def test_more_shards_than_files_may_be_open_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "OPEN_FILES", 2)
    for number in range(6):
        (tmp_path / str(number)).write_bytes(bytes([number]) * 10)
    folder = Folder(tmp_path)
    for _ in range(2):
        reads = folder.start([Range(str(number), 2, 5) for number in range(6)])
        assert [read().tolist() for read in reads] == [[number] * 3 for number in range(6)]
    assert len([name for name in Path("/proc/self/fd").iterdir() if str(tmp_path) in str(name.resolve())]) <= 2


@pytest.mark.parametrize("store", ["jpeg"], indirect=True)
def test_a_picture_that_cannot_be_decoded_is_named(packed):
    source = packed_of(packed).read("train")
    [shard] = packed.glob("train-00000.*")
    data = bytearray(shard.read_bytes())
    data[512:700] = bytes(188)
    shard.write_bytes(data)
    with pytest.raises(ConfigError, match=r"sample 0 in train-00000\.tar \(bytes 512 to \d+\): unreadable image \("):
        source.fetch(EVERY)[0]
