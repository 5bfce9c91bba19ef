"""A table of figures, and how it is written: for a terminal, as CSV, JSON, Markdown, and as a page of its own."""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, NamedTuple

from convarium.page import page
from convarium.wording import compact

FORMATS = ("text", "csv", "json", "md", "html")
EIGHTHS = " ▏▎▍▌▋▊▉█"
HEIGHTS = "▁▂▃▄▅▆▇█"
WIDE = 130  # characters from which on numbers are written out
STYLE = ".wide{overflow-x:auto}.wide td,.wide th{padding-left:10px;white-space:nowrap}tfoot{font-weight:bold}"
"""Beside that of every page."""
BAR = "linear-gradient(#4c78a866 0 0) right/"


class Column(NamedTuple):
    """A figure that each row has, by its key there."""

    key: str
    heading: str
    is_number: bool = False
    is_share: bool = False  # from 0 to 1, written in percent
    has_share: bool = False  # a bar shows `KEY_share` of the row
    is_exact: bool = False  # never rounded
    spared: int = 0  # left out for want of room; those with higher numbers later, those with 0 never


class Sheet(NamedTuple):
    """A table: a row holds its figures by key, None or no such key where it has none; the notes stand below it."""

    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    total: Mapping[str, Any] | None = None
    notes: Sequence[str] = ()


def as_text(title: Sequence[str], sheet: Sheet, width: int, *, colored: bool) -> str:
    """For a terminal so many characters wide: numbers are written out where there is room, else rounded; where there is
    still too little, columns are left out, which is said, and last of all names take several lines."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    stream = io.StringIO()
    console = Console(
        file=stream, width=width, height=25, force_terminal=colored, highlight=False, emoji=False, markup=False
    )
    for line in title:
        console.print(line)
    is_wide = width >= WIDE
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    rows = [*sheet.rows, *([sheet.total] if sheet.total else [])]
    columns = [column for column in sheet.columns if any(row.get(column.key) not in (None, "") for row in sheet.rows)]
    cells = {
        column.key: [
            (_shown(column, row.get(column.key), is_wide), _bar(row.get(f"{column.key}_share"), is_wide))
            if column.has_share
            else (_shown(column, row.get(column.key), is_wide), "")
            for row in rows
        ]
        for column in columns
    }
    headings = {
        column.key: column.heading if is_wide else re.sub("[ -](?!\\d)", "\n", column.heading) for column in columns
    }

    def wide(column: Column) -> int:
        return max(map(len, [*headings[column.key].split("\n"), *(text + bar for text, bar in cells[column.key])]))

    left_out = []
    for column in sorted((column for column in columns if column.spared), key=lambda column: column.spared):
        if sum(map(wide, columns)) + len(columns) - 1 > width:
            columns.remove(column)
            left_out.append(column.heading)
    room = width - sum(1 + wide(column) for column in columns[1:])
    for column in columns:
        right = column.is_number or column.is_share
        table.add_column(headings[column.key], justify="right" if right else "left", no_wrap=True)
    for k, row in enumerate(rows):
        texts = [Text.assemble(text, (bar, "blue")) for text, bar in (cells[column.key][k] for column in columns)]
        texts[0] = Text(_broken(texts[0].plain, room))
        table.add_row(*texts, style="bold" if row is sheet.total else None)
    console.print(table)
    more = f"Left out for want of room: {', '.join(left_out)}; a wider terminal or format=csv has them."
    for note in (*sheet.notes, *([more] if left_out else [])):
        console.print(f"\n{note}", style="dim")
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def as_csv(sheet: Sheet) -> str:
    """A line for each row and none for the totals, which are sums."""
    stream = io.StringIO()
    keys = list(dict.fromkeys(key for row in sheet.rows for key in row))
    writer = csv.DictWriter(stream, keys, lineterminator="\n")
    writer.writeheader()
    writer.writerows(sheet.rows)
    return stream.getvalue().rstrip("\n")


def as_markdown(title: Sequence[str], sheet: Sheet) -> str:
    """A heading, what is said of the network, and the table."""
    heading, *facts = title
    aligned = ["---:" if column.is_number or column.is_share else "---" for column in sheet.columns]
    lines = [f"# {heading}", "", *(f"- {fact}" for fact in facts), ""]
    lines += [_line([column.heading for column in sheet.columns]), _line(aligned)]
    for row in (*sheet.rows, *([sheet.total] if sheet.total else [])):
        lines.append(_line([_shown(column, row.get(column.key), True) for column in sheet.columns]))
    return "\n".join([*lines, *(f"\n{note}" for note in sheet.notes)])


def as_html(title: Sequence[str], sheet: Sheet, drawing: str = "") -> str:
    """A page in one file, which loads nothing and runs nothing; drawing: an SVG that stands above the table."""
    heading, *facts = map(escape, title)
    head = "".join(f'<th scope="col"{_class(column)}>{escape(column.heading)}</th>' for column in sheet.columns)
    body = "".join(f"<tr>{_cells(sheet.columns, row)}</tr>\n" for row in sheet.rows)
    foot = f"<tfoot><tr>{_cells(sheet.columns, sheet.total)}</tr></tfoot>" if sheet.total else ""
    bars = "".join(f".b{percent}{{background:{BAR}{percent}% 100% no-repeat}}" for percent in range(1, 101))
    return page(
        title[0],
        f"<h1>{heading}</h1>{''.join(f'<p>{fact}</p>' for fact in facts)}"
        f"{f'<figure>{drawing}</figure>' if drawing else ''}"
        f'<div class="wide" role="region" aria-label="{heading}" tabindex="0"><table>'
        f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>{foot}</table></div>"
        f"{''.join(f'<p>{escape(note)}</p>' for note in sheet.notes)}",
        style=STYLE + bars,
    )


def _shown(column: Column, value: Any, is_wide: bool) -> str:
    if value is None or value == "":
        return ""
    if column.is_share:
        return f"{100 * value:.0f}%"
    if column.is_number and isinstance(value, int):
        return f"{value:,}" if is_wide else str(value) if column.is_exact else compact(value, "")
    return str(value)


def _broken(name: str, room: int) -> str:
    """A name in lines of so many characters, which end after a dot, dash or underscore where one does."""
    lines = [""]
    for part in re.findall(r"[^._-]*[._-]?", name):
        if lines[-1] and len(lines[-1] + part) > room:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _bar(share: float | None, is_wide: bool) -> str:
    """A share as a bar of eight characters, or one that is the higher, the more it is; none of less than 1 %."""
    length = 8 if is_wide else 1
    if share is None or share < 0.01:
        return " " * (length + is_wide)
    if not is_wide:
        return HEIGHTS[min(7, int(share * 8))]
    whole, part = divmod(round(share * 64), 8)
    return f" {'█' * whole}{EIGHTHS[part] if part else ''}".ljust(9)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _class(column: Column, share: float | None = None) -> str:
    bar = f" b{round(100 * share)}" if share is not None and share >= 0.005 else ""
    return f' class="n{bar}"' if column.is_number or column.is_share else ""


def _cells(columns: Sequence[Column], row: Mapping[str, Any]) -> str:
    cells = ""
    for column in columns:
        text, share = escape(_shown(column, row.get(column.key), True)), row.get(f"{column.key}_share")
        tag = 'th scope="row"' if column is columns[0] else "td"
        cells += f"<{tag}{_class(column, share if column.has_share else None)}>{text}</{tag[:2]}>"
    return cells
