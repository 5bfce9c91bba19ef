"""What messages to a person are made of: one line, the nearest valid spelling."""

import difflib
import re
from collections.abc import Iterable


def nearest(word: str, among: Iterable[str], habit: str | None = None) -> str:
    """ "; did you mean 'batch'?", or "." where nothing is near. A beginning of a longer word is near to it.
    habit: what people mean who write `word` from habit."""
    valid = list(among)
    near = (
        ([habit] if habit else [])
        or [name for name in valid if plain(name) == plain(word)]
        or difflib.get_close_matches(word, valid, n=1)
        or [name for name in valid if len(word) > 2 and name.startswith(word)]
    )
    return f"; did you mean '{near[0]}'?" if near else "."


def plain(word: str) -> str:
    """A word without what people spell differently: `CIFAR-10`, `cifar_10`, `cifar10`."""
    return re.sub("[-_ ]", "", word).lower()


def unknown(word: str, value: str, among: Iterable[str]) -> str:
    """A message: the value in `word` is none of those that are accepted, which are listed."""
    valid = list(among)
    return f"{word}: unknown{nearest(value, valid)} One of: {', '.join(valid)}"


def one_line(error: object, length: int | None = None) -> str:
    """A message without line breaks, of at most `length` characters; of an error that says nothing, its type."""
    return printable(" ".join(str(error).split()))[:length] or type(error).__name__


def printable(text: object) -> str:
    """A text from data or a file as a terminal may get it: control characters but line ends are written, not sent."""
    return "".join(one if one.isprintable() or one == "\n" else ascii(one)[1:-1] for one in str(text))


def first_line(error: BaseException) -> str:
    """The first line of what an error says; of one that says nothing, its type."""
    return printable((str(error).strip().splitlines() or [type(error).__name__])[0])


def typed_line(error: BaseException) -> str:
    """An error's type and the first line of what it says."""
    kind, line = type(error).__name__, first_line(error)
    return kind if line == kind else f"{kind}: {line}"


def counted(number: int, noun: str) -> str:
    """ "1 file", "2,000 files"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def is_share(metric: str, values: Iterable[float]) -> bool:
    """Whether a metric of which these are values lies between 0 and 1, and may be said in per cent; a loss may not."""
    return not metric.endswith("loss") and all(0 <= value <= 1 for value in values)


def compact(number: float, space: str = " ") -> str:
    """ "61.1 M" of 61,100,840."""
    for unit in ("", "k", "M", "G", "T"):
        if number < 999.5:
            return f"{number:.3g}{space}{unit}".rstrip()
        number /= 1000
    return f"{number:.3g}{space}P"


def file_size(number: float) -> str:
    """A number of bytes as "1.23 GB", by powers of 1000."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 999.5:  # which three digits would round up
            return f"{number:.3g} {unit}" if unit != "bytes" else f"{number:.0f} bytes"
        number /= 1000
    return f"{number:,.1f} TB"
