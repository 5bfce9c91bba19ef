"""`convarium diff RUN RUN...`: only what differs between runs. No torch here."""

import json
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from convarium.commands.words import FORMAT, Verb, Words
from convarium.config.accepts import shown
from convarium.config.keys import COPIES, DERIVED, has_part, leaves
from convarium.errors import RunError
from convarium.results.comparisons import holm
from convarium.results.directory import SweepDirectory
from convarium.results.predictions import discordance, read_answers
from convarium.run.directory import RunDirectory, as_seen_from_here
from convarium.wording import counted, one_line, printable

ITS_OWN = ("run_dir", "resume", "name", "config_dir", "sweep")
"""Keys and groups in which every run differs."""
ORIGIN = ("git", "device", "host")
COUNTED = ("status", "epochs", "steps", "params", "macs", "images_per_second", "wall_seconds", "images")
NO_RESULT = "train/loss_step"

Differences = dict[str, dict[int, Any]]
"""Key -> number of the run -> its value; a run that has no such key is left out."""


def run(words: Words) -> None:
    """Print what differs."""
    runs = [run for word in words.positions for run in _runs(Path(word))]
    if len(runs) < 2:
        raise VERB.misused(f"{counted(len(runs), 'run')} given, expected two or more")
    configs, results = [_keys(run) for run in runs], [run.result() for run in runs]
    found = {
        "config": differing(configs),
        "origin": differing([_origin(result) for result in results]),
        "results": differing([_results(result) for result in results]),
    }
    comparisons = compared(runs)
    if words.as_json:
        places = [as_seen_from_here(run.path) for run in runs]
        named = {
            part: {key: {places[k]: value for k, value in values.items()} for key, values in rows.items()}
            for part, rows in found.items()
        }
        print(json.dumps({"runs": places, **named, "comparisons": comparisons}, indent=2, ensure_ascii=False))
        return
    print(printable("\n".join(as_text(runs, found, comparisons))))


def _runs(path: Path) -> list[RunDirectory]:
    """A run, or the jobs of a sweep. Raises RunError if it is neither."""
    if (path / "sweep.yaml").is_file():
        sweep = SweepDirectory.open(path)
        return [run for run in map(sweep.run, sweep.known()) if run.config_file.is_file()]
    return [RunDirectory.open(path)]


def _keys(run: RunDirectory) -> dict[str, Any]:
    """The config by dotted keys, each once: not what follows from another key."""
    kept = {}
    for key, value in leaves(run.config()).items():
        group, _, answer = key.partition(".")
        if group == "choices":
            kept[answer] = value
        elif group not in ITS_OWN and not COPIES.match(key) and not has_part(key, DERIVED):
            kept[key] = value
    return kept


def _origin(result: Mapping[str, Any]) -> dict[str, Any]:
    versions = result.get("versions") or {}
    return {**versions, **{name: result[name] for name in ORIGIN if result.get(name) is not None}}


def _results(result: Mapping[str, Any]) -> dict[str, Any]:
    metrics = {k: v for k, v in (result.get("metrics") or {}).items() if "/" in k and k != NO_RESULT}
    return {**leaves({name: result[name] for name in COUNTED if result.get(name) is not None}), **metrics}


def differing(rows: Sequence[Mapping[str, Any]]) -> Differences:
    """The keys that not all have with the same value, in the order of the first that has them."""
    names = dict.fromkeys(key for row in rows for key in row)
    found = {key: {k: row[key] for k, row in enumerate(rows) if key in row} for key in names}
    return {
        key: values
        for key, values in found.items()
        if len(values) < len(rows) or any(value != values[0] for value in values.values())
    }


def compared(runs: Sequence[RunDirectory]) -> list[dict[str, Any]]:
    """McNemar's test of the first run against each other one that was tested on the same images, corrected for their
    number by Holm."""
    answers = [_answers(run) for run in runs]
    found = []
    for second, other in enumerate(answers[1:], 1):
        if answers[0] is not None and other is not None and (one := discordance(answers[0], other)) is not None:
            found.append({"first": 0, "second": second, **one._asdict()})
    for row, p in zip(found, holm([row["p"] for row in found]), strict=True):
        row["p"] = p
    return found


def _answers(run: RunDirectory) -> Any:
    try:
        return read_answers(run.predictions)
    except RunError as error:
        print(one_line(error), file=sys.stderr)
        return None


def as_text(
    runs: Sequence[RunDirectory], found: Mapping[str, Differences], comparisons: Sequence[Mapping[str, Any]]
) -> list[str]:
    """What differs, for a terminal."""
    names = [_name(k) for k in range(len(runs))]
    lines = [f"{name}  {as_seen_from_here(run.path)}" for name, run in zip(names, runs, strict=True)]
    parts = {
        "config": "The configs are the same.",
        "origin": "Versions, commit and device are the same.",
        "results": "The results are the same.",
    }
    for part, same in parts.items():
        lines += ["", *_table(part, found[part], names)] if found[part] else ["", same]
    for row in comparisons:
        first, second = names[row["first"]], names[row["second"]]
        lines += [
            "",
            f"Of {row['images']:,} test images {first} alone has {row['only_first']:,} right, {second} alone "
            f"{row['only_second']:,}: p = {row['p']:.2g} (McNemar).",
        ]
    if len(comparisons) > 1:
        lines.append(f"The p are corrected for {len(comparisons)} comparisons (Holm).")
    return lines


def _name(number: int) -> str:
    """A, B, ... Z, A1, B1, ..."""
    turn, letter = divmod(number, len(ascii_uppercase))
    return ascii_uppercase[letter] + (str(turn) if turn else "")


def _table(part: str, rows: Differences, names: Sequence[str]) -> list[str]:
    """A column for each run and, of results, how much they differ; a row without room becomes a line for each run."""
    more = ["B - A" if len(names) == 2 else "range"] if part == "results" else []
    head = [part, *names, *more]
    cells = {}
    for key, values in rows.items():
        difference = [_difference(values, len(names))] if more else []
        told = (_cell(part, key, values[k]) if k in values else "-" for k in range(len(names)))
        cells[key] = [key, *told, *difference]
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else 100
    fitting = [row for row in cells.values() if max(map(len, row[1:])) <= max(12, (columns - 24) // len(head) - 2)]
    widths = [max(len(row[k]) for row in (head, *fitting)) for k in range(len(head))]
    if sum(widths) + 2 * len(widths) > columns:
        fitting = []
    lines = [_line(head, widths)] if fitting else [part]
    for row in cells.values():
        if row in fitting:
            lines.append(_line(row, widths))
        else:
            lines.append(row[0])
            lines += [f"    {name}  {cell}" for name, cell in zip(head[1:], row[1:], strict=True) if cell]
    return lines


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _cell(part: str, key: str, value: Any) -> str:
    """A value as text: of a result rounded, of a commit its first 12 digits, and whether files differed from it."""
    if key == "git":
        return f"{value[:12]}{value[40:]}"
    return f"{value:,.4f}" if part == "results" and isinstance(value, float) and abs(value) >= 1e-3 else shown(value)


def _difference(values: Mapping[int, Any], runs: int) -> str:
    numbers = [value for value in values.values() if isinstance(value, int | float)]
    if len(numbers) < runs:
        return ""
    return f"{numbers[1] - numbers[0]:+,.4g}" if runs == 2 else f"{max(numbers) - min(numbers):,.4g}"


VERB = Verb(
    name="diff",
    meaning="only what differs between runs: keys, versions, results",
    run=run,
    positions="RUN RUN...",
    options={"format": FORMAT},
    example="convarium diff runs/one runs/other",
)
