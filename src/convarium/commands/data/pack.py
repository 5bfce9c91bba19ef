"""`convarium data pack`: the splits of a dataset as few large files."""

from convarium.commands.words import Option, Verb, Words
from convarium.data.packed.shards import LARGEST_SIDE, STORES
from convarium.progress_bar import doing


def run(words: Words) -> None:
    """Pack the dataset, and print where it is and what was left out."""
    options = words.options
    if "to" not in options or not any(word.startswith("data=") for word in words.overrides):
        raise VERB.misused(f"{'to' if 'to' not in options else 'data'} must be given")
    size = None
    if words.value("size") != "null":
        size = words.whole("size", accepted=range(1, LARGEST_SIDE), expected="expected a whole number or null")
    quality = words.whole("quality", accepted=range(1, 101), expected="accepted are 1 to 100")
    shard_mb = words.whole("shard_mb", accepted=range(1, 1 << 32), expected="accepted are numbers above 0")
    threads = max(1, words.whole("threads")) if "threads" in options else None
    with doing("load torch"):
        from convarium.config.compose import Conf
        from convarium.config.instantiate import build
        from convarium.data.packed.packing import pack
        from convarium.data.readers.choice import reader

    with doing("look for pictures"):
        config = Conf().compose(words.overrides, to_train=False).config["data"]
        packing = pack(
            build(config, "data"),
            options["to"],
            reader=reader(config.get("reader", "auto")),
            format=words.value("format"),
            size=size,
            quality=quality,
            shard_mb=shard_mb,
            on_bad_file=config.get("on_bad_file", "raise"),
            threads=threads,
        )
    print(packing)


VERB = Verb(
    name="data pack",
    meaning="write a dataset as a few large files",
    run=run,
    required="data=folder data.root=PICTURES to=FOLDER",
    options={
        "to": Option("the folder to make"),
        "format": Option("JPEG files, or pixels, which need no decoding", tuple(STORES), "jpeg"),
        "size": Option("the shorter side that larger pictures are shrunk to; null: as they are", default="256"),
        "quality": Option("of the JPEG files that are written, 1 to 100", default="90"),
        "shard_mb": Option("the size of a file in 10^6 bytes", default="64"),
        "threads": Option("how many pictures are decoded at a time; as many as there are cores"),
    },
    overrides="data=NAME and keys of data",
    example="convarium data pack data=folder data.root=PHOTOS to=PACKED size=256",
    groups=("data",),
)
