"""`convarium list`: the groups of conf/, the answers of one, the table of the architectures, what is known of a key."""

import json
import shutil
import sys
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from textwrap import wrap
from typing import Any

from convarium.commands.words import FORMAT, Option, Verb, Words
from convarium.config.catalog import Architecture, architectures, groups, members
from convarium.config.habits import KEYS as KEYS_ELSEWHERE
from convarium.config.keys import KEYS, facts_of
from convarium.errors import ConfigError
from convarium.wording import nearest

HEADINGS = ("", "parameters", "paper's", "multiply-adds", "paper's", "top-1", "top-5")
PROTOCOL = "error in % by which protocol"
INDENT = "    "


def run(words: Words) -> None:
    """Print what was asked for; an answer comes with the line that opens its file, a key with its row of the table."""
    asked = words.positions[0].strip("/") if words.positions else None
    more = Path(words.options["config_dir"]) if "config_dir" in words.options else None
    if more is not None and not more.is_dir():
        raise ConfigError(f"--config-dir {more}: no such folder")
    answer: Mapping[str, Any]
    if asked is None:
        answer = {group: list(members(group, more)) for group in groups(more)}
        text = _columns({group: ", ".join(names) for group, names in answer.items()})
    elif asked == "arch":
        stated = architectures(more)
        answer = records(stated)
        # a line for each in a pipe, where columns may be cut and searched
        text = table(stated, shutil.get_terminal_size().columns if sys.stdout.isatty() else None)
    elif asked in (known := groups(more)):
        answer = members(asked, more)
        text = _columns(answer)
    elif asked.partition(".")[0] in {*known, *KEYS, "*"} and (facts := facts_of(asked)) is not None:
        answer = facts
        text = f"{asked}\n" + _columns({f"  {name}": fact for name, fact in facts.items()})
    elif answers := {group: lines[asked] for group in known if asked in (lines := members(group, more))}:
        answer = {f"{group}={asked}": line for group, line in answers.items()}
        text = _columns(answer)
    elif "." in asked:
        keys = [name.replace("*", group, 1) for name in KEYS for group in (known if name[0] == "*" else ("*",))]
        raise ConfigError(f"{asked}: unknown key{nearest(asked, keys)} convarium train --help lists them")
    else:
        near = nearest(asked, [*known, *KEYS], KEYS_ELSEWHERE.get(asked))
        raise ConfigError(f"{asked}: unknown group{near} One of: {', '.join(known)}")
    print(json.dumps(answer, indent=2, ensure_ascii=False) if words.as_json else text)


def _columns(rows: Mapping[str, str]) -> str:
    width = max(map(len, rows))
    return "\n".join(f"{name:{width}}  {text}" for name, text in rows.items())


def table(stated: Mapping[str, Architecture], width: int | None = None) -> str:
    """A line for each network, below its paper, oldest first; texts are wrapped to `width`, None: not at all."""
    papers = sorted(stated.items(), key=lambda item: (item[1].year, item[1].authors, item[1].parameters, item[0]))
    longest = max(map(len, stated))
    rows = {name: _row(f"  {name:{longest}}", network) for name, network in papers}
    widths = [max(map(len, column)) for column in zip(HEADINGS, *rows.values(), strict=True)]
    gap = "  " if width is None or sum(widths) + 2 * len(widths) <= width else " "
    before = sum(widths) + len(gap) * len(widths)
    beside = width is None or before + len(PROTOCOL) <= width  # else the protocol goes below the numbers
    heading = _line(HEADINGS, widths, gap)
    lines = [heading + gap + PROTOCOL] if beside else [heading, INDENT + PROTOCOL]
    for (year, authors), networks in groupby(papers, lambda item: (item[1].year, item[1].authors)):
        lines += ["", f"{year} {authors}"]
        for name, network in networks:
            numbers, protocol = _line(rows[name], widths, gap), network.published.protocol or ""
            if beside:
                first, *others = (
                    wrap(protocol, width - before, break_on_hyphens=False) if width and protocol else [protocol]
                )
                lines += [numbers + gap + first, *(" " * before + text for text in others)]
            else:
                lines += [numbers, *wrap(protocol, width or 0, initial_indent=INDENT, subsequent_indent=INDENT)]
    headed = [f"{name} {network.with_heads:,}" for name, network in papers if network.with_heads]
    if headed:
        text = f"All counts are without auxiliary heads; parameters with them: {', '.join(headed)}"
        lines += ["", *(wrap(text, width) if width else [text])]
    return "\n".join(line.rstrip() for line in lines)


def records(stated: Mapping[str, Architecture]) -> dict[str, dict[str, Any]]:
    """The same by name, and what the table leaves out; errors are numbers, counts of papers as these round them."""
    answer = {}
    for name, network in stated.items():
        results = {"published": network.published._asdict(), "measured": network.measured._asdict()}
        for result in results.values():
            for key in ("top1_error", "top5_error"):
                result[key] = result[key] and float(result[key])
        answer[name] = {**network._asdict(), **results}
    return answer


def _row(name: str, network: Architecture) -> tuple[str, ...]:
    published = network.published
    computed = "" if network.multiply_adds is None else f"{network.multiply_adds:,}"
    counts = (f"{network.parameters:,}", published.parameters or "", computed, published.multiply_adds or "")
    return (name, *counts, published.top1_error or "", published.top5_error or "")


def _line(cells: tuple[str, ...], widths: list[int], gap: str) -> str:
    return gap.join(f"{cell:>{size}}" for cell, size in zip(cells, widths, strict=True))


VERB = Verb(
    name="list",
    meaning="print the groups, the answers of one (arch: a table), or what is known about a key",
    run=run,
    positions="[GROUP|KEY]",
    options={"format": FORMAT, "config_dir": Option("a folder of answers besides ours; also --config-dir FOLDER")},
    example="convarium list norm, or: convarium list trainer.max_epochs",
    offers=lambda: (*groups(), *KEYS),
)
