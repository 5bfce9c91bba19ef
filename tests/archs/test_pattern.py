"""The notation of convolutional networks: what is written is read, and a mistake is pointed at."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convarium.archs.pattern import (
    BatchNorm,
    Block,
    Conv,
    Dropout,
    GlobalPool,
    Hidden,
    Layer,
    Pattern,
    Pool,
    Run,
    parse,
)

NOTES = "INPUT -> [(CONV -> RELU)*N -> POOL?]*M -> [FC -> RELU]*K -> FC"
COUNTS = {"N": 2, "M": 3, "K": 1}


def optional(numbers: st.SearchStrategy[int]) -> st.SearchStrategy[int | None]:
    return st.none() | numbers


counts = st.integers(0, 12) | st.sampled_from(["N", "M", "K"])
numbers = st.integers(1, 5000)
convs = st.builds(Conv, optional(numbers), optional(numbers), numbers, optional(st.integers(0, 9)))
pools = st.builds(Pool, numbers, numbers, st.booleans())
either: st.SearchStrategy[Layer] = st.just(BatchNorm()) | st.builds(Dropout, st.integers(0, 99))
features = convs | pools | st.just(GlobalPool()) | either
hidden = st.builds(Hidden, optional(numbers))


def rows(items: st.SearchStrategy[Layer]) -> st.SearchStrategy[tuple[Layer, ...]]:
    return st.lists(items, min_size=1, max_size=3).map(tuple)


def items(layers: st.SearchStrategy[Layer]) -> st.SearchStrategy[Block | Run | Layer]:
    runs = st.builds(Run, rows(layers), counts)
    return layers | runs | st.builds(Block, st.lists(runs | layers, min_size=1, max_size=3).map(tuple), counts)


patterns = st.builds(
    lambda maps, first, rest: Pattern(tuple(maps), (first, *rest) if first else ()),
    st.lists(items(features), max_size=3),
    st.none() | hidden | st.builds(Run, rows(hidden), counts) | st.builds(Block, rows(hidden), counts),
    st.lists(items(hidden | either), max_size=2),
)


def written(item: Pattern | Block | Run | Layer) -> str:
    match item:
        case Pattern(features, hidden):
            return " -> ".join(["INPUT", *map(written, features), *map(written, hidden), "FC"])
        case Block(items, times):
            return f"[{' -> '.join(map(written, items))}]*{times}"
        case Run(items, times):
            return f"({' -> '.join(map(written, items))})*{times}"
        case Conv(width, window, stride, padding):
            of_window = f"{window}x{window}{'-' if width else ''}" if window else ""
            return f"CONV{of_window}{width or ''}s{stride}{'' if padding is None else f'p{padding}'} -> RELU"
        case Pool(window, stride, optional):
            return f"POOL{window}x{window}s{stride}{'?' if optional else ''}"
        case Hidden(width):
            return f"FC{width or ''} -> RELU"
        case Dropout(percent):
            return f"DROPOUT{percent}"
        case GlobalPool():
            return "GAP"
        case BatchNorm():
            return "BN"


@given(patterns)
def test_a_pattern_is_read_as_it_was_written(pattern: Pattern) -> None:
    assert parse(written(pattern)) == pattern


@given(patterns, st.data())
def test_spaces_between_the_words_mean_nothing(pattern: Pattern, data: st.DataObject) -> None:
    spaces = st.sampled_from(["", " ", "  ", "\t"])
    text = "".join(
        data.draw(spaces) if part == " " else part for part in written(pattern).replace(" ", " | ").split("|")
    )
    assert parse(text) == pattern


@given(
    st.lists(
        st.sampled_from(["INPUT", "->", " ", "[", "]", "(", ")", "*", "?", "CONV", "RELU", "POOL", "FC", "N", "5"])
    )
)
def test_any_text_is_read_or_refused_with_a_character_of_it(words: list[str]) -> None:
    text = "".join(words)
    try:
        assert parse(written(parse(text))) == parse(text)
    except ValueError as error:
        begin, _, rest = str(error).partition(": at character ")
        assert begin == f"pattern={text}"
        assert 1 <= int(rest.partition(":")[0]) <= len(text) + 1


def test_the_notes_own_pattern_is_read() -> None:
    assert parse(NOTES) == Pattern(
        (Block((Run((Conv(),), "N"), Pool(optional=True)), "M"),), (Block((Hidden(),), "K"),)
    )
    assert parse("INPUT -> [[CONV -> RELU]*N -> POOL?]*M -> [FC -> RELU]*K -> FC") == parse(NOTES)


@pytest.mark.parametrize(
    ("word", "layer"),
    [
        ("CONV64 -> RELU", Conv(64)),
        ("CONV5x5 -> RELU", Conv(None, 5)),
        ("CONV5x5-64 -> RELU", Conv(64, 5)),
        ("CONV5x5->RELU", Conv(None, 5)),
        ("CONV11x11-96s4p2 -> RELU", Conv(96, 11, 4, 2)),
        ("CONV64s2 -> RELU", Conv(64, None, 2)),
        ("CONVp0 -> RELU", Conv(padding=0)),
        ("POOL", Pool(2, 2)),
        ("POOL3x3", Pool(3, 3)),
        ("POOL3x3s2?", Pool(3, 2, optional=True)),
        ("GAP", GlobalPool()),
        ("BN", BatchNorm()),
        ("DROPOUT40", Dropout(40)),
    ],
)
def test_a_layers_numbers_stand_behind_its_name(word: str, layer: Layer) -> None:
    assert parse(f"INPUT -> {word} -> FC") == Pattern((layer,))


def test_repetition_may_be_written_as_on_the_slides() -> None:
    assert parse("INPUT -> [(CONV -> RELU)^{*N} -> POOL?]^{*M} -> [FC -> RELU]^{*K} -> FC") == parse(NOTES)
    assert parse("INPUT -> [CONV -> RELU]^{*3} -> FC") == parse("INPUT -> [CONV -> RELU]*3 -> FC")


def test_repetition_is_unrolled_and_letters_are_numbers_of_the_caller() -> None:
    pattern, none = parse(NOTES), {"N": 0, "M": 1, "K": 0}
    assert pattern.blocks(COUNTS) == [[Conv(), Conv(), Pool(optional=True)]] * 3
    assert pattern.hidden_layers(COUNTS) == [Hidden()]
    assert (pattern.blocks(none), pattern.hidden_layers(none)) == ([[Pool(optional=True)]], [])


@pytest.mark.parametrize(
    ("text", "blocks"),
    [
        ("INPUT -> CONV -> RELU -> FC", [[Conv()]]),
        ("INPUT -> CONV -> RELU -> POOL -> CONV8 -> RELU -> POOL -> FC", [[Conv(), Pool()], [Conv(8), Pool()]]),
        ("INPUT -> (CONV -> RELU)*2 -> POOL -> FC", [[Conv(), Conv(), Pool()]]),
        ("INPUT -> CONV -> RELU -> GAP -> DROPOUT50 -> FC", [[Conv(), GlobalPool()], [Dropout(50)]]),
        ("INPUT -> BN -> [CONV -> RELU]*2 -> FC", [[BatchNorm()], [Conv()], [Conv()]]),
        ("INPUT -> [CONV -> RELU -> POOL -> DROPOUT25]*2 -> FC", [[Conv(), Pool(), Dropout(25)]] * 2),
        ("INPUT -> FC", []),
    ],
)
def test_a_block_is_what_its_brackets_hold_and_ends_elsewhere_with_a_pooling(
    text: str, blocks: list[list[Layer]]
) -> None:
    assert parse(text).blocks(COUNTS) == blocks


def test_what_stands_in_brackets_before_an_fc_sees_units() -> None:
    assert parse("INPUT -> POOL -> [DROPOUT50 -> FC -> RELU]*2 -> FC") == Pattern(
        (Pool(),), (Block((Dropout(50), Hidden()), 2),)
    )
    assert parse("INPUT -> POOL -> DROPOUT50 -> FC") == Pattern((Pool(), Dropout(50)))


@pytest.mark.parametrize(
    ("text", "character", "expected", "found"),
    [
        ("", 1, "INPUT", "the end"),
        ("CONV -> RELU", 1, "INPUT", "'CONV'"),
        ("INPUT", 6, "->", "the end"),
        ("INPUT - CONV", 7, "->", "'-'"),
        ("INPUT -> conv", 10, "CONV or POOL or GAP or BN or DROPOUT or FC", "'conv'"),
        ("INPUT -> [(CONV -> RELU*2 -> POOL]*3 -> FC", 24, "-> or )", "'*'"),
        ("INPUT -> [CONV -> POOL]*2 -> FC", 19, "RELU", "'POOL'"),
        ("INPUT -> [CONV -> RELU)*2 -> FC", 23, "-> or ]", "')'"),
        ("INPUT -> [CONV -> RELU]*X -> FC", 25, "a number up to 999, N, M or K", "'X'"),
        ("INPUT -> [CONV -> RELU]^{*3 -> FC", 29, "}", "'->'"),
        ("INPUT -> [CONV -> RELU]^3 -> FC", 24, "->", "'^'"),
        ("INPUT -> [CONV -> RELU]*1000 -> FC", 25, "a number up to 999, N, M or K", "'1000'"),
        ("INPUT -> [CONV -> RELU -> FC] -> FC", 27, "CONV or POOL or GAP or BN or DROPOUT", "'FC'"),
        ("INPUT -> [[(CONV -> RELU)]] -> FC", 12, "CONV or POOL or GAP or BN or DROPOUT", "'('"),
        ("INPUT -> [FC -> RELU]*2", 24, "->", "the end"),
        ("INPUT -> [FC -> RELU]*2 -> CONV -> RELU -> FC", 28, "FC or BN or DROPOUT", "'CONV'"),
        ("INPUT -> FC -> FC", 16, "RELU", "'FC'"),
        ("INPUT -> FC10", 12, "no number, for the last FC has a unit for each class", "'10'"),
        ("INPUT -> CONV 64 -> RELU -> FC", 15, "->", "'64'"),
        ("INPUT -> CONV5x3 -> RELU -> FC", 16, "5", "'3'"),
        ("INPUT -> CONV5x5- -> RELU -> FC", 17, "->", "'-'"),
        ("INPUT -> CONV0 -> RELU -> FC", 14, "a number of at least 1", "'0'"),
        ("INPUT -> CONVs -> RELU -> FC", 15, "a number of at least 1", "' '"),
        ("INPUT -> DROPOUT100 -> FC", 17, "a number from 0 to 99", "'100'"),
        ("INPUT -> FC,INPUT -> FC", 12, "->", "','"),
    ],
)
def test_a_mistake_is_pointed_at(text: str, character: int, expected: str, found: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse(text)
    assert str(caught.value) == f"pattern={text}: at character {character}: expected {expected}, found {found}"
