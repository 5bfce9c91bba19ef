"""A csv in the folder of a run with a row for each observed step and layer: gradient_flow.csv, activations.csv."""

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from convarium.files import write_atomically
from convarium.yaml_text import parse

PLACE = ["step", "layer"]
TABLES = ("gradient_flow", "activations")
"""The callbacks that keep one, called as its file and figure are."""


BINS = [f"bin{number}" for number in range(1, 17)]
"""The columns of a histogram in activations.csv, which trackers show as one."""


class Row(NamedTuple):
    """What was measured of a layer at a step, by the names of the quantities; nan: it is not known, or no number."""

    step: int
    layer: str
    values: dict[str, float]

    def named(self, table: str) -> dict[str, float]:
        """What is known, by the names that trackers show it under."""
        known = ((name, value) for name, value in self.values.items() if math.isfinite(value) and name not in BINS)
        return {f"{table}/{self.layer}/{name}": value for name, value in known}


def is_observed(step: int, every_n_steps: int) -> bool:
    """Whether a step, counted from 1, is one of every `every_n_steps`; before the first of them 1, 2, 4, 8, ... are
    too, as most happens there."""
    return step % every_n_steps == 0 or (step < every_n_steps and step & (step - 1) == 0)


def rounded(value: float) -> float:
    """As it is written, so that what is concluded from it is concluded from the file too."""
    return float(f"{value:.7g}")


def append_rows(path: Path, rows: Sequence[Row]) -> None:
    """Add rows, all of the same quantities, to a file, which begins with the first of them."""
    with path.open("a", newline="", encoding="utf-8") as file:
        file.write(_text(rows, headed=file.tell() == 0))


def read_rows(path: Path) -> list[Row]:
    """The rows of a file, none if there is no such file; one that a kill has cut short is left out."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        whole = [row for row in csv.DictReader(file) if None not in row and None not in row.values()]
    return [
        Row(int(row["step"]), row["layer"], {name: float(row[name] or "nan") for name in row if name not in PLACE})
        for row in whole
        if row["step"].isdigit()
    ]


def cut_back(path: Path, step: int) -> None:
    """Forget every row later than `step`, which a resumed run takes again."""
    rows = read_rows(path)
    kept = [row for row in rows if row.step <= step]
    if kept:
        write_atomically(path, _text(kept, headed=True))
    else:
        path.unlink(missing_ok=True)


def words_of(folder: Path) -> list[str]:
    """The words that were typed to train the run of a folder; none where a folder is no run's."""
    words = _read(folder / "overrides.yaml")
    return [str(word) for word in words] if isinstance(words, list) else []


def name_of(folder: Path) -> str:
    """The name of the run of a folder, that of the folder where it is no run's."""
    config = _read(folder / "config.yaml")
    name = config.get("name") if isinstance(config, dict) else None
    return str(name or folder.resolve().name)


def _read(path: Path) -> Any:
    return parse(path.read_text(encoding="utf-8")) if path.is_file() else None


def steps_of(rows: Iterable[Row]) -> list[int]:
    """The observed steps, in order."""
    return list(dict.fromkeys(row.step for row in rows))


def _text(rows: Sequence[Row], *, headed: bool) -> str:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    if headed:
        table.writerow([*PLACE, *rows[0].values])
    for step, layer, values in rows:
        table.writerow([step, layer, *(f"{value:.7g}" if math.isfinite(value) else "" for value in values.values())])
    return text.getvalue()
