"""`convarium batch-find`: the largest batch that fits into memory, and the smallest that is as fast."""

import json
import math
import re
from collections.abc import Callable
from functools import partial
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from convarium.commands.words import EXPERIMENT, FORMAT, Option, Verb, Words
from convarium.errors import ConfigError
from convarium.progress_bar import doing
from convarium.wording import counted, file_size

if TYPE_CHECKING:
    from convarium.find.largest import Found
    from convarium.run.prepare import Prepared

MOST = 10**9  # images, without max=
POWERS = dict(zip("KMGT", range(1, 5), strict=True))
LIMITS = {
    "memory": "memory (a tenth is left free)",
    "seconds": "the seconds of a step; seconds= allows more",
}
ADVICE = (
    "The learning rate is not changed. By the linear scaling rule (Goyal et al. 2017, arXiv:1706.02677), which is for"
    " SGD with a warm-up and fails for very large batches, optimizer.lr={old:g} for a batch of {before} becomes"
    " {linear_lr:.2g} for {batch_size}; for Adam and its kin by the square root (Malladi et al. 2022, arXiv:2205.10287)"
    " {square_root_lr:.2g}."
)


def run(words: Words) -> int:
    """Print a row for each try, what limits the batch, and the commands that train by it."""
    steps = words.whole("steps", accepted=range(2, 1_001), expected="accepted: 2 to 1,000 steps")
    multiple = words.whole("multiple", accepted=range(1, 65_537), expected="accepted: 1 to 65,536 images")
    largest = words.whole("max", expected="expected a number of images") if "max" in words.options else MOST
    seconds, asked = words.number("seconds"), memory_of_word(words.options.get("memory"))
    with doing("load torch"):
        from convarium.find.largest import AIR, Bounds, Try, search
        from convarium.find.trial import objection, prepared_from
        from convarium.find.tries import memory_of, trier, unthreaded

    with unthreaded():
        with doing("prepare the tries"):
            prepared = prepared_from(words.overrides, VERB.name)
        config, at, images = prepared.config, prepared.placement, prepared.data.num_train
        sharing = at.devices if at.accelerator == "cpu" else 1
        memory = min(asked, memory_of(prepared)) / sharing
        parts = at.ranks * config["trainer"]["accumulate_grad_batches"]
        bounds = Bounds(
            (1 - AIR) * memory, min(images, largest) // parts, multiple, words.value("round") == "power", seconds
        )
        if not bounds.rounded(multiple):
            raise ConfigError(f"multiple={multiple}: a device has at most {counted(bounds.most, 'image')} at a time")
        say: Callable[[str], None] = _nothing if words.as_json else partial(print, flush=True)
        each = f" for each of {counted(sharing, 'process')}" if sharing > 1 else ""
        say(f"{config['name']}, {config['precision']['mode']}, on {at.description}")
        say(f"  {file_size(memory)} of memory{each}, of which {file_size(bounds.room)} may be taken")
        if parts > 1:
            say(f"  a batch is {parts} times what a device has at a time; memory and images/s are those of one device")
        say(f"\n{'batch':>9}  {'peak memory':>11}  {'s/step':>8}  {'images/s':>9}")
        measure = trier(prepared, steps, memory)

        peaks: list[float] = []

        def measure_and_print(size: int) -> Try:
            with doing(f"try a batch of {parts * size:,}"):
                tried = measure(size)
            peaks.append(tried.peak)
            peak = file_size(tried.peak) if tried.peak < math.inf else "-"
            over = "  too much" if tried.peak > bounds.room else ""
            say(f"{parts * size:9,}  {peak:>11}  {tried.seconds:8.3f}  {tried.images_per_second:9,.0f}{over}")
            return tried

        found = search(measure_and_print, bounds)
    if found is None:
        taken = f", for it takes {file_size(peaks[0])}" if peaks[0] < math.inf else ""
        raise ConfigError(
            f"multiple={multiple}: not even a batch of {parts * bounds.rounded(multiple)} fits into"
            f" {file_size(bounds.room)}{taken}; accepted: more memory than {file_size(memory)}, or a smaller multiple"
            " where the images take it"
        )
    limits = LIMITS | {"most": f"max={largest}" if largest < images else f"the {images:,} training images"}
    batch, refused = parts * found.largest.size, objection(prepared, words.overrides, parts * found.largest.size)
    if words.as_json:
        print(json.dumps(_fields(found, prepared, words.overrides, parts) | {"memory": memory, "refused": refused}))
        return 0
    say(f"\n{batch:9,}  the largest that fits; limited by {limits[found.limit]}")
    if found.limit == "seconds":
        say(f"{parts * found.predicted:9,}  would fit by the line through the last two, and was not tried")
    say(f"{parts * found.enough.size:9,}  the smallest with 95 % of the best images/s")
    if refused:
        say(f"\nbatch_size={batch} would be refused: {refused}")
    fields = _fields(found, prepared, words.overrides, parts)
    advice = ADVICE.format(old=config["optimizer"]["lr"], before=config["batch_size"], **fields)
    say("\n".join(["", *wrap(advice, 80), "", *fields["commands"]]))
    return 0


def _nothing(line: str) -> None:
    """What is said of the tries where a program asks."""


def _fields(found: "Found", prepared: "Prepared", overrides: list[str], parts: int) -> dict[str, Any]:
    """What programs are answered; sizes are batches, but those of the tries are what a device has at a time."""
    from convarium.find.trial import command

    batch, enough = (parts * each.size for each in (found.largest, found.enough))
    lr, times = prepared.config["optimizer"]["lr"], batch / prepared.config["batch_size"]
    return {
        "batch_size": batch,
        "limit": found.limit,
        "predicted": parts * found.predicted,
        "fast_enough": enough,
        "linear_lr": lr * times,
        "square_root_lr": lr * math.sqrt(times),
        "tries": [tried._asdict() | {"peak": tried.peak if tried.peak < math.inf else None} for tried in found.tries],
        "commands": [command(overrides, batch_size=size) for size in dict.fromkeys((batch, enough))],
    }


def memory_of_word(word: str | None) -> float:
    """Bytes of "8G", "800 MB" (powers of 1000) or "8GiB" (of 1024); infinity for None. Raises ConfigError."""
    if word is None:
        return math.inf
    match = re.fullmatch(r"(\d+\.?\d*) ?([KMGT]?)(I?)B?", word.upper())
    if match is None or not (number := float(match[1])):
        raise ConfigError(f"memory={word}: expected a size such as 8G, 800M or 8GiB")
    return float(number * (1024 if match[3] else 1000) ** POWERS.get(match[2], 0))


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
