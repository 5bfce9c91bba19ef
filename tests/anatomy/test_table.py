"""The table of a network, and networks side by side."""

import csv
import io
import json

import pytest

from anatomy.traces import image, layers_of, network
from archs.catalog import stated
from convarium.anatomy.sheet import Column, Sheet, as_csv, as_html, as_markdown, as_text
from convarium.anatomy.table import LEVELS, depth, last_maps, sees, sheet_of, side_by_side, totals


def sheet(name: str, level: str = "blocks") -> Sheet:
    pixels = stated(name).image_size
    return sheet_of(network(name, pixels), layers_of(name, pixels), image(name, pixels), level)


def test_maps_of_vgg16_are_61_megabytes_and_not_96() -> None:
    total = totals(layers_of("vgg16", 224), (3, 224, 224))
    assert total.forward_bytes == 4 * 15_237_608
    assert round(total.forward_bytes / 1e6, 2) == 60.95
    misquoted = stated("vgg16").misquoted
    assert misquoted is not None
    assert "15,237,608" in misquoted


@pytest.mark.parametrize("name", ["resnet20", "inception_v1", "inception_v3", "lenet5_1998"])
@pytest.mark.parametrize("level", LEVELS)
def test_rows_of_every_level_add_up_to_the_totals(name: str, level: str) -> None:
    table = sheet(name, level)
    assert table.total is not None
    for key in ("forward_bytes", "kept_bytes"):
        assert sum(row[key] for row in table.rows) == table.total[key]
    main = [row for row in table.rows if not row["name"].startswith("+")]
    assert sum(row.get("parameters", 0) for row in main) == table.total["parameters"] == stated(name).parameters
    assert sum(row.get("multiply_adds", 0) for row in main) == table.total["multiply_adds"]


def test_equal_siblings_are_one_row_with_the_field_of_the_last() -> None:
    rows = {row["name"]: row for row in sheet("resnet20").rows}
    folded = rows["stages.1.1-2"]
    assert (folded["kind"], folded["output"], folded["field"]) == ("2x Residual", "32x16x16", "37/2/-18")
    each = {row["name"]: row for row in sheet("resnet20", "layers").rows}
    body = [f"stages.1.1.body.{k}.{part}" for k in (0, 1) for part in ("conv", "norm")]
    assert folded["parameters"] == 2 * sum(each[name]["parameters"] for name in body)
    assert [row["name"] for row in sheet("resnet20", "stages").rows][1:5] == [
        "stem",
        "stages.0",
        "stages.1",
        "stages.2",
    ]


def test_a_row_has_the_window_and_what_its_units_see() -> None:
    conv, pool = sheet("inception_v1", "layers").rows[1], sheet("inception_v1", "layers").rows[3]
    assert (conv["kind"], conv["window"], conv["field"]) == ("conv", "7/2/3", "7/2/-3")
    assert (pool["kind"], pool["window"], pool["output"]) == ("max pool", "3/2/0", "64x56x56")
    assert conv["multiply_adds_share"] == conv["multiply_adds"] / stated("inception_v1").multiply_adds  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "layers", "field"),
    [
        ("alexnet", 8, "195"),
        ("vgg16", 16, "212"),
        ("inception_v1", 22, "715"),
        ("resnet50", 50, "483"),
        ("mlp", 3, "28"),
    ],
)
def test_depth_is_the_papers_and_counts_no_shortcut(name: str, layers: int, field: str) -> None:
    traced = layers_of(name, stated(name).image_size)
    assert (depth(traced), sees(traced)) == (layers, field)
    assert (last_maps(traced) is None) == (name == "mlp")


def test_parameters_of_vgg16_are_in_its_linear_layers_and_its_maps_are_early() -> None:
    row = side_by_side("vgg16", layers_of("vgg16", 224), (3, 224, 224), {})
    assert round(row["linear_parameters"], 3) == 0.894
    assert row["early_bytes"] > 0.9 > 0.1 > row["early_parameters"]


COLUMNS = (
    Column("name", "layer"),
    Column("count", "mult-adds", is_number=True, has_share=True),
    Column("part", "in fc", is_share=True),
)
TABLE = Sheet(
    COLUMNS,
    [
        {"name": "a", "count": 1_849_688_064, "count_share": 0.5, "part": 0.256},
        {"name": "<b>", "count": 0, "count_share": 0.0},
    ],
    {"name": "total", "count": 1_849_688_064},
    ["what <it> means"],
)


def test_a_narrow_terminal_gets_rounded_numbers_and_a_wide_one_all_digits() -> None:
    narrow, wide = (as_text(["a network"], TABLE, width, colored=False) for width in (60, 140))
    assert max(map(len, narrow.splitlines())) <= 60
    assert ("1.85G▅" in narrow, "26%" in narrow, "1,849,688,064" in narrow) == (True, True, False)
    assert "1,849,688,064 ████" in wide


@pytest.mark.parametrize("name", ["vgg16", "resnet50", "inception_v1", "alexnet", "alexnet_one_tower"])
def test_tables_fit_into_80_columns(name: str) -> None:
    text = as_text([name], sheet(name), 80, colored=False)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    assert all(row["name"] in text for row in sheet(name).rows)  # each in one line


def test_a_narrow_terminal_lacks_the_least_columns_and_says_so() -> None:
    text = as_text(["b0"], sheet("efficientnet_b0"), 80, colored=False)
    assert max(map(len, text.splitlines())) <= 80
    assert all(row["name"] in text for row in sheet("efficientnet_b0").rows)
    assert "Left out for want of room: kept; a wider terminal or format=csv has them." in text
    each = as_text(["b0"], sheet("efficientnet_b0", "layers"), 80, colored=False)
    assert max(map(len, each.splitlines())) <= 80
    assert "Left out" not in as_text(["b0"], sheet("efficientnet_b0"), 140, colored=False)


def test_names_break_at_their_dots_and_a_depth_is_written_out() -> None:
    table = Sheet(
        (Column("name", "layer"), Column("n", "depth", is_number=True, is_exact=True)),
        [{"name": "stages.10.excite", "n": 1202}],
    )
    lines = as_text(["x"], table, 16, colored=False).splitlines()
    assert [line.split() for line in lines[2:]] == [["stages.10.", "1202"], ["excite"]]


def test_files_hold_what_the_table_holds() -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv(TABLE))))
    assert [row["count"] for row in rows] == ["1849688064", "0"]
    assert "| a | 1,849,688,064 | 26% |" in as_markdown(["x", "y"], TABLE)
    page = as_html(["A & B", "fact"], TABLE, "<svg></svg>")
    assert page.index("<svg>") < page.index("<table>")
    assert all(text in page for text in ("A &amp; B", "&lt;b&gt;", "what &lt;it&gt; means"))
    assert "<script" not in page
    assert '<td class="n b50">1,849,688,064</td>' in page
    assert json.dumps(TABLE.rows)
