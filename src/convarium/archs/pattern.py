"""The notation in which the literature writes a convolutional network, and how it is read:

    INPUT -> [(CONV -> RELU)*N -> POOL?]*M -> [FC -> RELU]*K -> FC

    pattern = "INPUT" {"->" block} {"->" hidden block} "->" "FC"
    block   = "[" run {"->" run} "]" [times]  |  run
    run     = "(" layer {"->" layer} ")" [times]  |  layer          inside a block also with "[" and "]"
    times   = "*" count  |  "^{*" count "}"                         the same; the second as on a slide
    count   = number  |  "N"  |  "M"  |  "K"
    layer   = "CONV" spec "->" "RELU"  |  "POOL" spec ["?"]  |  "GAP"  |  "BN"  |  "DROPOUT" number
    hidden  = "FC" [number] "->" "RELU"  |  "BN"  |  "DROPOUT" number

What the notation has no numbers for is added to a layer's name, nothing of it obligatory: CONV64 is 64 maps, CONV5x5
windows of 5x5, CONV5x5-64s2p2 both of these, stride 2 and 2 zeros around the maps; POOL3x3s2; FC128; DROPOUT40, 40 %.
GAP is global average pooling: of each map the mean.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NoReturn, TypeVar

LETTERS = ("N", "M", "K")
MOST_TIMES = 999
TO_HIDDEN = r"\s*(FC|[\[(]([\[(\s]|(BN|DROPOUT\d+)\s*->)*FC)"  # FC, or brackets of which it is the first with weights
LAST = r"\s*FC\s*$"

T = TypeVar("T")


@dataclass(frozen=True)
class Conv:
    """CONV -> RELU; None is for whoever builds it to say."""

    width: int | None = None
    kernel_size: int | None = None
    stride: int = 1
    padding: int | None = None


@dataclass(frozen=True)
class Pool:
    """POOL, or POOL?, about which whoever builds it decides."""

    window: int = 2
    stride: int = 2
    optional: bool = False


@dataclass(frozen=True)
class GlobalPool:
    """GAP, the mean of each map."""


@dataclass(frozen=True)
class Hidden:
    """FC -> RELU."""

    width: int | None = None


@dataclass(frozen=True)
class BatchNorm:
    """BN, batch normalization of the maps or units at this place."""


@dataclass(frozen=True)
class Dropout:
    """DROPOUT40."""

    percent: int


Layer = Conv | Pool | GlobalPool | Hidden | BatchNorm | Dropout


@dataclass(frozen=True)
class Run:
    """(...)*N: layers in a row, the whole `times` times."""

    items: tuple[Layer, ...]
    times: int | str = 1


@dataclass(frozen=True)
class Block:
    """[...]*M: what is between two resolutions, `times` times; of hidden layers simply a group."""

    items: tuple[Run | Layer, ...]
    times: int | str = 1


Item = Block | Run | Layer


@dataclass(frozen=True)
class Pattern:
    """All there is between INPUT and the last FC: what sees maps, and the rest from the first hidden FC on."""

    features: tuple[Item, ...] = ()
    hidden: tuple[Item, ...] = ()

    def blocks(self, counts: Mapping[str, int]) -> list[list[Layer]]:
        """The layers of each block; `counts` says what the letters N, M and K stand for.

        A block is what [ ] hold, as often as they are repeated; outside of them it ends with its POOL or GAP.
        """
        found: list[list[Layer]] = []
        between: list[Layer] = []
        for item in self.features:
            if isinstance(item, Block):
                found += [between] if between else []
                found += [list(unrolled(item.items, counts)) for _ in range(_count(item.times, counts))]
                between = []
                continue
            for layer in unrolled([item], counts):
                between.append(layer)
                if isinstance(layer, Pool | GlobalPool):
                    found.append(between)
                    between = []
        return [*found, between] if between else found

    def hidden_layers(self, counts: Mapping[str, int]) -> list[Layer]:
        """The layers from the first hidden FC on."""
        return list(unrolled(self.hidden, counts))


def unrolled(items: "tuple[Item, ...] | list[Item]", counts: Mapping[str, int]) -> Iterator[Layer]:
    """The layers themselves, in order, as often as they are repeated."""
    for item in items:
        if isinstance(item, Block | Run):
            for _ in range(_count(item.times, counts)):
                yield from unrolled(item.items, counts)
        else:
            yield item


def _count(times: int | str, counts: Mapping[str, int]) -> int:
    return times if isinstance(times, int) else counts[times]


def parse(text: str) -> Pattern:
    """Read a pattern; spaces are free. Raises ValueError naming the character at which something else was expected."""
    return _Parser(text).pattern()


class _Parser:
    """Recursive descent: a method for each rule of the grammar, from `at` on."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.depth = 0  # of brackets

    def pattern(self) -> Pattern:
        self.expect("INPUT")
        self.expect("->")
        return Pattern(tuple(self.blocks(self.feature, TO_HIDDEN)), tuple(self.blocks(self.hidden, LAST)))

    def blocks(self, layer: Callable[[], Layer], end: str) -> Iterator[Item]:
        while not self.ahead(end):
            yield self.block(layer)
            self.expect("->")

    def block(self, layer: Callable[[], Layer]) -> Item:
        if self.take("["):
            return Block(self.sequence(lambda: self.run(layer, "(["), "]"), self.times())
        return self.run(layer, "(")

    def run(self, layer: Callable[[], Layer], brackets: str) -> Run | Layer:
        for opening in brackets:
            if self.take(opening):
                return Run(self.sequence(layer, ")" if opening == "(" else "]"), self.times())
        return layer()

    def sequence(self, item: Callable[[], T], closing: str) -> tuple[T, ...]:
        self.depth += 1
        items = [item()]
        while self.expect("->", closing) == "->":
            items.append(item())
        self.depth -= 1
        return tuple(items)

    def times(self) -> int | str:
        mark = self.take("*", "^{*")
        if mark is None:
            return 1
        count = self.take(*LETTERS) or self.number(
            least=0, most=MOST_TIMES, expected=f"a number up to {MOST_TIMES}, N, M or K"
        )
        if mark == "^{*":
            self.expect("}")
        return count

    def feature(self) -> Layer:
        names = ("CONV", "POOL", "GAP", "BN", "DROPOUT")
        name = self.take(*names) or self.fail(" or ".join(names if self.depth else [*names, "FC"]))
        if name == "CONV":
            return self.conv()
        if name == "GAP":
            return GlobalPool()
        return self.pool() if name == "POOL" else self.either(name)

    def hidden(self) -> Layer:
        name = self.expect("FC", "BN", "DROPOUT")
        if name != "FC":
            return self.either(name)
        if self.ahead(r"\d+\s*$") and not self.depth:
            self.fail("no number, for the last FC has a unit for each class")
        width = self.number() if self.ahead(r"\d") else None
        self.expect("->")
        self.expect("RELU")
        return Hidden(width)

    def either(self, name: str) -> Layer:
        return BatchNorm() if name == "BN" else Dropout(self.number(least=0, most=99))

    def conv(self) -> Conv:
        window = self.window()
        if window is not None and self.ahead(r"-\d"):
            self.at += 1
        width = self.number() if self.ahead(r"\d") else None
        stride = self.number() if self.adjacent("s") else 1
        padding = self.number(least=0) if self.adjacent("p") else None
        self.expect("->")
        self.expect("RELU")
        return Conv(width, window, stride, padding)

    def pool(self) -> Pool:
        window = self.window() or 2
        stride = self.number() if self.adjacent("s") else window
        return Pool(window, stride, optional=self.take("?") is not None)

    def window(self) -> int | None:
        """The 5 of a following 5x5."""
        if not self.ahead(r"\d+x"):
            return None
        side = self.number()
        self.at += 1
        self.number(least=side, most=side)
        return side

    def number(self, least: int = 1, most: int | None = None, expected: str | None = None) -> int:
        found = re.compile(r"[0-9]{1,9}").match(self.text, self.at)
        if found is None or int(found[0]) < least or (most is not None and int(found[0]) > most):
            between = f"from {least} to {most}" if most is not None else f"of at least {least}"
            self.fail(expected or (str(least) if least == most else f"a number {between}"))
        self.at = found.end()
        return int(found[0])

    def ahead(self, expression: str) -> bool:
        return re.compile(expression, re.ASCII).match(self.text, self.at) is not None

    def adjacent(self, mark: str) -> bool:
        if not self.text.startswith(mark, self.at):
            return False
        self.at += len(mark)
        return True

    def take(self, *words: str) -> str | None:
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1
        return next((word for word in words if self.adjacent(word)), None)

    def expect(self, *words: str) -> str:
        found = self.take(*words)
        if found is None:
            self.fail(" or ".join(words))
        return found

    def fail(self, expected: str) -> NoReturn:
        found = re.compile(r"->|\w+|.", re.DOTALL).match(self.text, self.at)
        shown = f"'{found[0]}'" if found else "the end"
        raise ValueError(f"pattern={self.text}: at character {self.at + 1}: expected {expected}, found {shown}")
