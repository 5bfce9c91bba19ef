"""A report on a dataset: as a page for people, as JSON or CSV for programs."""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from convarium.data.inspect.report import Report, Same
from convarium.data.inspect.tree import Issue
from convarium.wording import counted, file_size

LISTED = 10  # lines of a list on the page
EDGES = (1, 2, 8, 16, 32, 64, 96, 128, 192, 224, 256, 320, 384, 512, 768, 1024, 2048, 4096, 1 << 32)
"""The bins of the shorter side: at what networks take."""
BAR = 32
LINKED = ("in two splits", "in two classes")
"""Kinds of notes on whole folders that are listed with the pictures of which the same is true."""
CONTROL = {code: f"\\x{code:02x}" for code in (*range(32), 127)}
"""A file's name may hold line breaks, and sequences that a terminal obeys."""


def as_text(report: Report, to: Path | None = None) -> str:
    """The page; lists are cut, unless `to` names the file that has all."""
    end = _conclusion(report) + (f"; all issues are in {to}" if to else "")
    parts = [_totals(report), _classes(report), _sizes(report), _bad(report), *_same(report), _notes(report), [end]]
    page = "\n\n".join("\n".join(part) for part in parts if part)
    return printable(page if to is None else page.replace(" (to=FILE.csv writes all)", ""))


def as_json(report: Report) -> str:
    """All of it."""
    shorter = np.minimum(report.widths, report.heights)
    content = {
        "name": report.name,
        "pictures": report.pictures,
        "bytes": report.bytes,
        "seconds": round(report.seconds, 3),
        "pictures_per_second": round(report.pictures / report.seconds, 1),
        "workers": report.workers,
        "bad": [{"path": issue.path, "why": issue.detail} for issue in report.bad],
        "same_pixels": [
            {"paths": paths, "splits": splits, "classes": classes, "across_splits": len(splits) > 1}
            for paths, splits, classes, _ in report.same
        ],
        "notes": [note._asdict() for note in report.notes],
        "classes": report.classes,
        "without_pictures": [issue.path for issue in report.lacking],
        "shorter_side": _spread(shorter),
        "longer_side": _spread(np.maximum(report.widths, report.heights)),
        "aspect_ratio": _spread(report.widths / report.heights),
        "sizes": dict(_common_sizes(report, 100)),
        "modes": dict(report.modes.most_common()),
        "other_files": dict(report.others.most_common()),
        "exit_code": report.exit_code,
    }
    return printable(json.dumps(content, indent=2, ensure_ascii=False))


def as_csv(report: Report) -> str:
    """Every issue as kind,path,detail; of pictures with the same pixels one line each but for the first."""
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(Issue._fields)
    table.writerows(report.bad)
    for same in report.same:
        first, *others = same.paths
        classes = f" ({' and '.join(same.classes)})" if len(same.classes) > 1 else ""
        table.writerows((same.kind, path, f"same pixels as {first}{classes}") for path in others)
    table.writerows([*report.lacking, *report.notes])
    return printable(file.getvalue())


def printable(text: str) -> str:
    """File names may hold bytes that are no text."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _totals(report: Report) -> list[str]:
    speed = report.pictures / report.seconds
    amount = f"{counted(report.pictures, 'picture')}, {file_size(report.bytes)}"
    lines = [report.name, f"{amount}; read and decoded in {report.seconds:.1f} s, {speed:,.0f} a second"]
    if report.others:
        others = ", ".join(f"{count:,} {suffix}" for suffix, count in report.others.most_common(5))
        lines.append(f"{counted(report.others.total(), 'other file')}: {others}")
    return lines


def _classes(report: Report) -> list[str]:
    if not report.classes:
        return []
    rows = [("", "pictures", "classes", "smallest", "largest", "ratio")]
    for split, counts in report.classes.items():
        if not counts:
            continue
        least, most = min(counts, key=counts.__getitem__), max(counts, key=counts.__getitem__)
        ratio = f"{counts[most] / counts[least]:.2f}" if counts[least] else "-"
        even = counts[least] == counts[most]
        ends = ("all alike", f"{counts[most]:,}") if even else (f"{counts[n]:,} {_short(n)}" for n in (least, most))
        rows.append((split or "all", f"{sum(counts.values()):,}", f"{len(counts):,}", *ends, ratio))
    return _columns(rows, "<>><<>") + _list("without pictures", [issue.path for issue in report.lacking])


def _sizes(report: Report) -> list[str]:
    if not len(report.widths):
        return []
    [(size, count)] = _common_sizes(report, 1)
    if count == len(report.widths):
        return [f"all {size} pixels"]
    shorter = np.minimum(report.widths, report.heights)
    spread, ratio = _spread(shorter), _spread(report.widths / report.heights)
    lines = [
        f"shorter side  {spread['smallest']:,} to {spread['largest']:,} pixels, median {spread['median']:,}",
        f"width/height  {ratio['smallest']:.3g} to {ratio['largest']:.3g}, median {ratio['median']:.3g}",
        f"most common   {size}: {count / len(shorter):.0%}",
    ]
    counts, _ = np.histogram(shorter, EDGES)
    bars = ["█" * round(BAR * number / counts.max()) or "▏" for number in counts]
    rows = zip(map(_bin, EDGES, EDGES[1:]), map("{:,}".format, counts), bars, strict=False)
    return lines + _columns([row for row in rows if row[1] != "0"], ">><")


def _bad(report: Report) -> list[str]:
    causes = Counter(issue.detail.partition(":")[0].partition(" to ")[0] for issue in report.bad)
    counts = ", ".join(f"{count:,} {cause}" for cause, count in causes.most_common())
    lines = _columns([issue[1:] for issue in report.bad[:LISTED]], "<<")
    return _list(f"bad: {counted(len(report.bad), 'file')} ({counts})", lines, len(report.bad))


def _same(report: Report) -> list[list[str]]:
    parts = []
    for kind in (*LINKED, "twice"):
        lines = [f"{note.path}  {note.detail}" for note in report.notes if note.kind == kind]
        lines += [_equal(same) for same in report.same if same.kind == kind]
        parts.append(_list(f"the same picture {kind}: {len(lines):,}", lines))
    return parts


def _equal(same: Same) -> str:
    chosen = list(dict.fromkeys((*same.firsts, *same.paths)))[:3]  # with those that make the point
    shown = [path for path in same.paths if path in chosen]
    more = len(same.paths) - len(shown)
    classes = f"  ({', '.join(same.classes)})" if len(same.classes) > 1 else ""
    return " = ".join(shown) + (f" = {more:,} more" if more else "") + classes


def _notes(report: Report) -> list[str]:
    kinds: dict[str, list[Issue]] = {}
    for note in report.notes:
        if note.kind not in LINKED:
            kinds.setdefault(note.kind, []).append(note)
    rows = [
        (f"  {kind}", f"{len(notes):,}", f"{notes[0].path}  {notes[0].detail}" + (", ..." if notes[1:] else ""))
        for kind, notes in kinds.items()
    ]
    return ["odd, but no error", *_columns(rows, "<><")] if rows else []


def _conclusion(report: Report) -> str:
    wrong = [counted(len(report.bad), "bad file")] if report.bad else []
    wrong += [f"{counted(report.across, 'picture')} in two splits"] if report.across else []
    well = "every file decodes" + (", and no picture is in two splits" if len(report.classes) > 1 else "")
    return " and ".join(wrong) or well


def _list(heading: str, lines: Sequence[str], length: int | None = None) -> list[str]:
    """The first of `lines`, which are all or the first of `length`."""
    if not lines:
        return []
    more = (length or len(lines)) - LISTED
    shown = [*lines[:LISTED], f"and {more:,} more (to=FILE.csv writes all)"] if more > 0 else lines
    return [heading, *(f"  {line.translate(CONTROL)}" for line in shown)]


def _columns(rows: Sequence[Sequence[str]], sides: str) -> list[str]:
    rows = [[cell.translate(CONTROL) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, sides, widths, strict=True)).rstrip()
        for row in rows
    ]


def _spread(values: NDArray[Any]) -> dict[str, Any]:
    ranked = np.sort(values)
    places = {"smallest": 0, "median": len(ranked) // 2, "largest": -1}
    return {name: round(ranked[at].item(), 4) if len(ranked) else None for name, at in places.items()}


def _common_sizes(report: Report, number: int) -> list[tuple[str, int]]:
    """The most common sizes as "width x height"."""
    both = report.widths.astype(np.uint64) << np.uint64(32) | report.heights
    sizes, counts = np.unique(both, return_counts=True)
    best = np.argsort(-counts, kind="stable")[:number]
    return [(f"{int(sizes[k]) >> 32}x{int(sizes[k]) & 0xFFFFFFFF}", int(counts[k])) for k in best]


def _bin(low: int, high: int) -> str:
    if high == EDGES[-1]:
        return f"  {low:,} and more"
    return f"  {low:,}" if high == low + 1 else f"  {low:,}-{high - 1:,}"


def _short(name: str) -> str:
    return name if len(name) <= 24 else f"{name[:23]}…"
