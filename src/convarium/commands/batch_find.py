"""`convarium batch-find`: the largest batch that fits into memory, and the smallest that is as fast."""

import json
import math
import re
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from convarium.commands.words import EXPERIMENT, FORMAT, Option, Verb, Words
from convarium.errors import ConfigError
from convarium.progress_bar import doing
from convarium.wording import counted, file_size

if TYPE_CHECKING:
    from convarium.find.largest import Bounds, Found, Try
    from convarium.run.prepare import Prepared

MOST = 10**9  # images, without max=
POWERS = dict(zip("KMGT", range(1, 5), strict=True))
LIMITS = {
    "memory": "memory, of which a tenth is left free",
    "seconds": "the seconds of a step; seconds= allows more",
}
ADVICE = (
    "The learning rate is not changed. By the linear scaling rule (Goyal et al. 2017, arXiv:1706.02677), which is for"
    " SGD with a warm-up and fails for very large batches, optimizer.lr={old:g} for a batch of {before} becomes"
    " {linear:.2g} for {batch}; for Adam and its kin by the square root (Malladi et al. 2022, arXiv:2205.10287)"
    " {root:.2g}."
)


def run(words: Words) -> int:
    """Print a row for each try, what limits the batch, and the commands that train by it."""
    steps = words.whole("steps", accepted=range(2, 1_001), expected="accepted are 2 to 1,000 steps")
    multiple = words.whole("multiple", accepted=range(1, 65_537), expected="accepted are 1 to 65,536 images")
    seconds, asked = words.number("seconds"), memory_of_word(words.options.get("memory"))
    largest = words.whole("max", expected="expected a number of images") if "max" in words.options else MOST
    with doing("load torch"):
        from convarium.find.largest import AIR, Bounds, conclude, search
        from convarium.find.trial import prepared_from
        from convarium.find.tries import memory_of, trier, unthreaded

    with unthreaded():
        with doing("prepare the tries"):
            prepared = prepared_from(words.overrides, VERB.name)
        sharing = prepared.placement.devices if prepared.placement.accelerator == "cpu" else 1
        memory = min(asked, memory_of(prepared)) / sharing
        parts = prepared.placement.ranks * prepared.config["trainer"]["accumulate_grad_batches"]
        most = min(prepared.data.num_train, largest) // parts
        bounds = Bounds((1 - AIR) * memory, most, multiple, words.value("round") == "power", seconds)
        if not bounds.rounded(multiple):
            raise ConfigError(f"multiple={multiple}: a device has at most {counted(most, 'image')} at a time")
        if not words.as_json:
            print(_heading(prepared, memory, bounds, sharing, parts), flush=True)
        tries: list[Try] = []
        trying = search(trier(prepared, steps, memory), bounds)
        while True:
            with doing("try a larger batch" if tries else "try a small batch"):
                tried = next(trying, None)
            if tried is None:
                break
            tries.append(tried)
            if not words.as_json:
                print(_row(tried, parts), flush=True)
    if (found := conclude(tries, bounds)) is None:
        raise ConfigError(
            f"multiple={multiple}: not even a batch of {parts * tries[0].size} fits into {file_size(bounds.room)};"
            f" accepted: a smaller one, or more memory than {file_size(memory)}"
        )
    fields = _fields(found, prepared, words.overrides, memory, parts)
    print(json.dumps(fields, indent=2) if words.as_json else _text(found, fields, prepared, largest))
    return 0


def memory_of_word(word: str | None) -> float:
    """Bytes of "8G", "800 MB" (powers of 1000) or "8GiB" (of 1024); infinity for None. Raises ConfigError."""
    if word is None:
        return math.inf
    match = re.fullmatch(r"(\d+\.?\d*) ?([KMGT]?)(I?)B?", word.upper())
    if match is None or not (number := float(match[1])):
        raise ConfigError(f"memory={word}: expected a size such as 8G, 800M or 8GiB")
    return float(number * (1024 if match[3] else 1000) ** POWERS.get(match[2], 0))


def _heading(prepared: "Prepared", memory: float, bounds: "Bounds", sharing: int, parts: int) -> str:
    config, at = prepared.config, prepared.placement
    each = f" for each of {counted(sharing, 'process')}" if sharing > 1 else ""
    lines = [
        f"{config['name']}, {config['precision']['mode']}, on {at.description}",
        f"  {file_size(memory)} of memory{each}, of which {file_size(bounds.room)} may be taken",
    ]
    if parts > 1:
        lines.append(f"  a batch is {parts} times what a device has at a time; memory and images/s are those of one")
    return "\n".join([*lines, "", f"{'batch':>9}  {'peak memory':>11}  {'s/step':>8}  {'images/s':>9}"])


def _row(tried: "Try", parts: int) -> str:
    if math.isinf(tried.peak):
        return f"{parts * tried.size:9,}  {'too much':>11}"
    return (
        f"{parts * tried.size:9,}  {file_size(tried.peak):>11}  {tried.seconds:8.3f}  {tried.images_per_second:9,.0f}"
    )


def _fields(found: "Found", prepared: "Prepared", overrides: list[str], memory: float, parts: int) -> dict[str, Any]:
    from convarium.find.trial import command, objection

    lr, before, batch = prepared.config["optimizer"]["lr"], prepared.config["batch_size"], parts * found.largest.size
    return {
        "batch_size": batch,
        "per_device": found.largest.size,
        "limit": found.limit,
        "predicted": parts * found.predicted,
        "fast_enough": parts * found.enough.size,
        "memory": memory,
        "tries": [
            {
                "batch_size": parts * tried.size,
                "peak": tried.peak if tried.peak < math.inf else None,
                "seconds": tried.seconds,
                "images_per_second": tried.images_per_second,
            }
            for tried in found.tries
        ],
        "linear_lr": lr * batch / before,
        "square_root_lr": lr * math.sqrt(batch / before),
        "refused": objection(prepared, overrides, batch),
        "commands": [
            command(overrides, batch_size=parts * size)
            for size in dict.fromkeys((found.largest.size, found.enough.size))
        ],
    }


def _text(found: "Found", fields: dict[str, Any], prepared: "Prepared", largest: int) -> str:
    batch, enough = fields["batch_size"], fields["fast_enough"]
    images = prepared.data.num_train
    limits = LIMITS | {"most": f"max={largest}" if largest < images else f"the {images:,} training images"}
    lines = ["", f"{batch:9,}  the largest that was tried and fits; limited by {limits[found.limit]}"]
    if found.limit == "seconds":
        lines.append(f"{fields['predicted']:9,}  would fit by the line through the last two, and was not tried")
    lines.append(f"{enough:9,}  the smallest with 95 % of the best images/s")
    if fields["refused"]:
        lines += ["", f"batch_size={batch} would be refused: {fields['refused']}"]
    config = prepared.config
    rates = {"old": config["optimizer"]["lr"], "linear": fields["linear_lr"], "root": fields["square_root_lr"]}
    advice = ADVICE.format(before=config["batch_size"], batch=batch, **rates)
    return "\n".join([*lines, "", *wrap(advice, 80), "", *fields["commands"]])


VERB = Verb(
    name="batch-find",
    meaning="find the largest batch that fits into memory, and the fastest",
    run=run,
    required="arch=NAME data=NAME",
    options={
        "memory": Option("how much there is, 8G; as much as is free if not given"),
        "max": Option("the largest batch to try; the training images if not given"),
        "multiple": Option("of which the images of a device are a multiple", default="8"),
        "round": Option("to a multiple, or to a power of two", ("multiple", "power"), "multiple"),
        "steps": Option("optimizer steps of a try, the first not timed", default="3"),
        "seconds": Option("the longest step that is tried", default="20"),
        "format": FORMAT,
    },
    overrides="as of train: arch=NAME, data=NAME, optimizer=NAME, ...",
    example="convarium batch-find arch=resnet20 data=cifar10 precision=bf16 memory=8G",
    groups=EXPERIMENT,
)
