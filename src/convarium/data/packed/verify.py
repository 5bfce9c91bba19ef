"""Whether every byte of a packed dataset is the one that was written. No torch here."""

import hashlib
from concurrent.futures import ThreadPoolExecutor

from convarium.data.packed.shards import File, read_header, read_index, require_length
from convarium.data.packed.storage import Range, open_storage
from convarium.errors import ConfigError

PIECE = 8 << 20  # bytes that are read at a time


def verify(root: str, *, threads: int = 4) -> list[str]:
    """What is wrong with each file of a packed dataset, one line a file; nothing if all is well.
    Raises ConfigError if the header itself cannot be read."""
    header, storage = read_header(root), open_storage(root)
    wrong = []
    for split in header.splits:
        try:
            read_index(storage, header, split)
        except ConfigError as error:
            wrong.append(str(error))

    def fault(shard: File) -> str | None:
        digest = hashlib.sha256()
        try:
            require_length(storage, shard)
            for start in range(0, shard.bytes, PIECE):
                [read] = storage.start([Range(shard.name, start, min(start + PIECE, shard.bytes))])
                digest.update(read().data)
        except ConfigError as error:
            return str(error)
        differs = digest.hexdigest() != shard.sha256
        return f"data.root={storage.root}: {shard.name}: its checksum differs" if differs else None

    with ThreadPoolExecutor(threads) as pool:
        shards = (shard for split in header.splits.values() for shard in split.shards)
        wrong += filter(None, pool.map(fault, shards))
    return list(dict.fromkeys(wrong))
