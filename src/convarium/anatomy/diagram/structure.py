"""From layers to what a diagram shows: boxes in a row, forks between them, equal neighbours folded.

A layer is on the spine if no connection passes it by. Between two such layers there is a fork: its branches are what
hangs together there, each a row of its own. So it is found in what reads what, whatever the modules are called.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from convarium.anatomy.trace import IMAGE, Layer

JOINS = ("add", "concat", "multiply")
ATTACHED = ("norm", "activation", "dropout")  # what follows something stands at its foot
LONGEST_PERIOD = 4  # boxes that are folded together, as the three of a bottleneck without a shortcut


@dataclass(frozen=True)
class Box:
    """A layer with what belongs to it: the padding before it, norm, activation and dropout after it."""

    layer: Layer
    before: tuple[Layer, ...] = ()
    after: tuple[Layer, ...] = ()

    @property
    def layers(self) -> tuple[Layer, ...]:
        return (*self.before, self.layer, *self.after)


@dataclass(frozen=True)
class Fork:
    """Branches that read the same and, unless `join` is None, are joined; an empty one passes on what it reads."""

    branches: tuple["Row", ...]
    join: Layer | None
    after: tuple[Layer, ...] = ()
    passing: int = 0  # connections that pass boxes of their row by, where branches are not just side by side

    @property
    def layers(self) -> tuple[Layer, ...]:
        inside = [layer for row in self.branches for item in row for layer in item.layers]
        return (*inside, *((self.join,) if self.join else ()), *self.after)


Item = Box | Fork
Row = tuple[Item, ...]


@dataclass(frozen=True)
class Part:
    """A place on the spine: a box or a block, how often it comes in a row, and the heads that branch off its end."""

    row: Row
    copies: tuple[Row, ...] = ()  # all of them, the first is `row`
    heads: tuple[Row, ...] = ()

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Those of all copies."""
        return tuple(layer for row in self.copies for item in row for layer in item.layers)

    @property
    def box(self) -> Box | None:
        """The box that it is, if it is no block."""
        return self.row[0] if len(self.row) == 1 and isinstance(self.row[0], Box) else None

    @property
    def uniform(self) -> bool:
        """Whether all copies have the same widths."""
        return len({signature(row, exact=True) for row in self.copies}) == 1


def parts(layers: Sequence[Layer], *, exact: bool) -> tuple[Part, ...]:
    """What a diagram shows of a network, from the image to the logits.

    exact: blocks are folded if all their shapes are equal; otherwise the widths inside them may differ.
    """
    leading = [k for k, layer in enumerate(layers) if not layer.is_auxiliary]
    blocks = _blocks(layers, _row(layers, leading, IMAGE))
    heads = defaultdict[int, list[Row]](list)
    for numbers in _together(layers, [k for k, layer in enumerate(layers) if layer.is_auxiliary]):
        source = next((s for k in numbers for s in layers[k].sources if s not in numbers), IMAGE)
        heads[id(layers[source])].append(_row(layers, numbers, source))
    spine = [
        Part(row, (row,), tuple(head for item in row for layer in item.layers for head in heads[id(layer)]))
        for row in blocks
    ]
    return tuple(_folded(spine, exact))


def signature(row: Row, *, exact: bool) -> tuple[object, ...]:
    """What is equal for equal rows."""
    return tuple(_signature(item, exact) for item in row)


def _signature(item: Item, exact: bool) -> object:
    own = (item.layer,) if isinstance(item, Box) else (item.join,) if item.join else ()
    about = [
        (layer.kind, layer.window and layer.window[:4], layer.outputs if exact else layer.outputs[1:])
        + ((layer.inputs,) if layer.kind == "linear" else ())  # of which most weights are in the first
        for layer in (*own, *(item.before if isinstance(item, Box) else ()))
    ]
    rows = () if isinstance(item, Box) else tuple(signature(row, exact=exact) for row in item.branches)
    groups = own[0].window.groups if own and own[0].window and own[0].kind == "conv" else 1
    return tuple(about), groups, tuple(layer.kind for layer in item.after), rows


def _row(layers: Sequence[Layer], numbers: Sequence[int], entry: int, leaving: Iterable[int] = ()) -> Row:
    """Layers that read `entry` and one another, as a row; `leaving`: those that something behind the row reads."""
    items: list[Item] = []
    before, between = entry, list[int]()
    for number in _not_passed_by(layers, numbers, entry, leaving):
        between = [k for k in numbers if before < k < number]
        items += _between(layers, between, before, number)
        before = number
    rest = [k for k in numbers if k > before]
    if rest:
        items += _between(layers, rest, before, None)
    return tuple(_gathered(items))


def _not_passed_by(layers: Sequence[Layer], numbers: Sequence[int], entry: int, leaving: Iterable[int]) -> list[int]:
    """The layers that every way through these goes through: no connection leads over them."""
    place = {number: k for k, number in enumerate(numbers)}
    place[entry] = -1
    over = [0] * (len(numbers) + 2)  # changes of how many connections lead over each place
    ways = [
        (place[source], place[number]) for number in numbers for source in layers[number].sources if source in place
    ]
    for start, end in [*ways, *((place[number], len(numbers)) for number in leaving)]:
        if end - start > 1:
            over[start + 1] += 1
            over[end] -= 1
    count, alone = 0, []
    for number in numbers:
        count += over[place[number]]
        if count == 0:
            alone.append(number)
    return alone


def _between(layers: Sequence[Layer], numbers: list[int], before: int, join: int | None) -> Iterator[Item]:
    """The fork of these layers, and the layer that joins it or, where there is none, follows."""
    follows = None if join is None else layers[join]
    if not numbers and follows is not None:
        yield Box(follows)
        return
    groups = _together(layers, numbers)
    passed = follows is not None and before in follows.sources
    read = set(follows.sources if follows else ()) or {k for k in numbers if not _read_by(layers, k, numbers)}
    if len(groups) == 1 and not passed and len(groups[0]) > 1:  # not just side by side: in the order of the calls
        row = tuple(_gathered(Box(layers[k]) for k in numbers))
        connections = sum(len(layers[k].sources) for k in [*numbers, *([join] if join is not None else [])])
        branches: tuple[Row, ...] = (row,)
        passing = max(0, connections - len(numbers))
    else:
        rows = [_row(layers, group, before, [k for k in group if k in read]) for group in groups]
        branches, passing = tuple(rows), 0
    if passed:
        branches = (*branches, ())
    joined = follows if follows is not None and (follows.kind in JOINS or len(follows.sources) > 1) else None
    yield Fork(branches, joined, passing=passing)
    if follows is not None and joined is None:
        yield Box(follows)


def _read_by(layers: Sequence[Layer], number: int, among: Iterable[int]) -> bool:
    return any(number in layers[k].sources for k in among)


def _together(layers: Sequence[Layer], numbers: Sequence[int]) -> list[list[int]]:
    """These layers in groups that do not read one another."""
    group = {number: [number] for number in numbers}
    for number in numbers:
        for source in layers[number].sources:
            if source in group and group[source] is not group[number]:
                larger, smaller = sorted((group[source], group[number]), key=len, reverse=True)
                larger += smaller
                group.update(dict.fromkeys(smaller, larger))
    return sorted({id(members): sorted(members) for members in group.values()}.values())


def _gathered(items: Iterable[Item]) -> Iterator[Item]:
    """Items with what belongs to them: a padding to what follows it, a norm and an activation to what is before."""
    last: Item | None = None
    for item in items:
        alone = isinstance(item, Box) and not item.before and not item.after
        if last is not None and alone and isinstance(item, Box) and _belongs(item.layer, last):
            last = replace(last, after=(*last.after, item.layer))
        elif isinstance(last, Box) and last.layer.kind == "pad" and isinstance(item, Box) and item.layer.window:
            last = replace(item, before=(*last.before, last.layer))
        else:
            if last is not None:
                yield last
            last = item
    if last is not None:
        yield last


def _belongs(layer: Layer, last: Item) -> bool:
    if isinstance(last, Fork) and common_path((*last.layers, layer)) != common_path(last.layers):
        return False  # a norm may open the next block
    if layer.kind in ATTACHED:
        return not (isinstance(last, Box) and last.layer.kind == "pad")
    return layer.kind == "multiply" and len(layer.sources) == 1  # by a trainable coefficient


def _blocks(layers: Sequence[Layer], row: Row) -> list[Row]:
    """The row in pieces: each a box or a block.

    What stands in the same place of the module tree as a module that forks is a block as well, such as the first one
    of a stage, which has no shortcut.
    """
    depths = dict[str, int]()
    for item in row:
        if isinstance(item, Fork):
            path = common_path(item.layers)
            depths[path[0] if path else ""] = min(len(path), depths.get(path[0] if path else "", len(path)))
    pieces = list[tuple[object, list[Item]]]()
    for item in row:
        path = common_path(item.layers)
        depth = depths.get(path[0] if path else "")
        place: object = path[:depth] if depth and len(path) >= depth else id(item)
        if pieces and pieces[-1][0] == place:
            pieces[-1][1].append(item)
        else:
            pieces.append((place, [item]))
    return [tuple(items) for _, items in pieces]


def common_path(layers: Iterable[Layer]) -> tuple[str, ...]:
    """The names of the innermost module that has all these layers, from the outside."""
    names = [layer.name.partition(" #")[0].split(".") for layer in layers]
    shared = []
    for step in zip(*names, strict=False):
        if len(set(step)) > 1:
            break
        shared.append(step[0])
    return tuple(shared)


def _folded(spine: list[Part], exact: bool) -> Iterator[Part]:
    """Equal neighbours as one, where no head branches off between them."""
    keys = [signature(part.row, exact=exact or part.box is not None) for part in spine]
    at = 0
    while at < len(spine):
        period, times = max(
            ((p, _times(spine, keys, at, p)) for p in range(1, LONGEST_PERIOD + 1)),
            key=lambda found: (found[0] * found[1] if found[1] > 1 else 0, -found[0]),
        )
        if times == 1:
            period = 1
        end = at + period * times
        rows = [
            tuple(item for part in spine[start : start + period] for item in part.row)
            for start in range(at, end, period)
        ]
        yield Part(rows[0], tuple(rows), spine[end - 1].heads)
        at = end


def _times(spine: list[Part], keys: list[tuple[object, ...]], at: int, period: int) -> int:
    """How often the next `period` parts come in a row. Only boxes are taken together: a block is one already."""
    if period > 1 and (not all(part.box for part in spine[at : at + period]) or len(set(keys[at : at + period])) == 1):
        return 1
    end = at + period
    while keys[end : end + period] == keys[at : at + period] and not any(
        part.heads for part in spine[end - period : end]
    ):
        end += period
    return (end - at) // period


def walk(row: Row) -> Iterator[Item]:
    """All items of a row, those in forks too."""
    for item in row:
        yield item
        if isinstance(item, Fork):
            for branch in item.branches:
                yield from walk(branch)
