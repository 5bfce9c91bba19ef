"""The table of sweeps and runs for programs and for papers: columns, CSV, Markdown, LaTeX, JSON. No torch here."""

import json
import math
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from convarium.config.accepts import shown as written
from convarium.results.intervals import Spread
from convarium.results.leaderboard import CALLED, csv_text, markdown_lines, short
from convarium.results.rows import FACTS, Group, Table, open_table

LATEX = {one: f"\\{one}" for one in "&%$#_{}"}
LATEX |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def load_sweep(path: Path | str) -> dict[str, list[Any]]:
    """The jobs of a sweep (or of several in a folder, or runs) as columns of one length, the best first.

    `pandas.DataFrame(...)` and `polars.DataFrame(...)` take it as it is. Columns: a swept key each, numbers where all
    its values are numbers, else texts as on the command line; status; each metric, images_per_second and wall_seconds
    as float or None; params as int or None; path; error (text or None); same_as, what the job has that is the same
    network by construction and was run in its place ("norm=paper"), else None. Raises RunError for what is no sweep or
    run.
    """
    return columns(open_table([path]))


def columns(table: Table) -> dict[str, list[Any]]:
    """A table as columns; `load_sweep` says which."""
    found: dict[str, list[Any]] = {axis: _alike([row.swept.get(axis) for row in table.rows]) for axis in table.axes}
    found["status"] = [row.status for row in table.rows]
    for name in (*table.metrics, *FACTS):
        kind = int if name == "params" else float
        values = [row.figures.get(name) for row in table.rows]
        found[name] = [None if value is None else kind(value) for value in values]
    found["path"] = [row.path for row in table.rows]
    found["error"] = [row.error for row in table.rows]
    found["same_as"] = [row.same_as for row in table.rows]
    return found


def _alike(values: Sequence[Any]) -> list[Any]:
    """Values of one type: numbers if all are, else as they are written."""
    present = [value for value in values if value is not None]
    kinds = {type(value) for value in present}
    if kinds and kinds <= {int, float} and len(present) == len(values):
        return [float(value) for value in values] if len(kinds) > 1 else list(values)
    return [written(value) for value in values]


def as_json(table: Table) -> str:
    """All there is: the jobs, and the means over seeds and over folds with their intervals."""
    groups = []
    for group in table.groups:
        over = {f"over_{CALLED[axis]}": group.over[axis] for axis in table.replicates}
        means = {key: {name: _ends(one) for name, one in spreads.items()} for key, spreads in over.items()}
        jobs_of = [row.job for row in group.rows]
        groups.append({"swept": group.swept, "same_as": group.same_as, "jobs": jobs_of, **means})
    names = ("job", "swept", "status", "error", "path", "same_as")
    jobs = [{name: getattr(row, name) for name in names} | row.figures for row in table.rows]
    answer = {"monitor": table.monitor, "mode": table.mode, "axes": table.axes, "jobs": jobs, "groups": groups}
    return json.dumps(answer, indent=2, ensure_ascii=False, default=str) + "\n"


def _ends(one: Spread) -> dict[str, float | int | None]:
    low, high = (end if math.isfinite(end) else None for end in (one.low, one.high))
    return {"mean": one.mean, "std": one.deviation, "low": low, "high": high, "n": one.number}


def in_csv(table: Table) -> str:
    """The columns of `load_sweep` as CSV, numbers to their last digit."""
    found = columns(table)
    return csv_text([[*found], *zip(*found.values(), strict=True)])


def in_markdown(table: Table) -> str:
    """Means with their intervals, the best of each metric in bold, as a table of Markdown."""
    head, rows = _for_a_paper(table, bold="**{}**".format)
    return "\n".join(markdown_lines(head, rows)) + "\n"


def in_latex(table: Table) -> str:
    """The same as a tabular of LaTeX with the rules of the package booktabs."""
    head, rows = _for_a_paper(table, bold=r"\textbf{{{}}}".format, text=_latex)
    texts = (len(table.others) if table.axes else 1) + any(group.same_as for group in table.groups)
    lines = [r"% \usepackage{booktabs}", rf"\begin{{tabular}}{{{'l' * texts}{'r' * (len(head) - texts)}}}", r"\toprule"]
    lines += [" & ".join(_latex(cell) for cell in head) + r" \\", r"\midrule"]
    lines += [" & ".join(row) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _for_a_paper(
    table: Table, *, bold: Callable[[str], str], text: Callable[[str], str] = str
) -> tuple[list[str], list[list[str]]]:
    """Head and rows: what was swept, how many seeds or folds, and each metric that a group has; then the parameters."""
    axis = table.replicates[-1] if table.replicates else None
    same = ["same as"] if any(group.same_as for group in table.groups) else []
    metrics = [name for name in table.metrics if any(name in group.spreads for group in table.groups)]
    best = {name: _best(table, name) for name in metrics}
    rows = []
    for group in table.groups:
        names = [text(cell) for cell in (*_named(table, group), *([group.same_as or ""] if same else []))]
        counts = [str(len({row.swept.get(axis) for row in group.good}))] if axis else []
        cells = []
        for name in metrics:
            spread = group.spreads.get(name)
            cell = text(str(spread)) if spread else ""
            cells.append(bold(cell) if spread and spread.mean == best[name] else cell)
        params = {int(one) for row in group.rows if (one := row.figures.get("params")) is not None}
        rows.append([*names, *counts, *cells, " or ".join(f"{one:,}" for one in sorted(params))])
    heads = short(table.others) if table.axes else ["run"]
    return [*heads, *same, *([CALLED[axis]] if axis else []), *metrics, "parameters"], rows


def _named(table: Table, group: Group) -> Iterator[str]:
    if not table.axes:
        yield group.rows[0].job
    for axis in table.others:
        yield written(group.swept.get(axis))


def _best(table: Table, metric: str) -> float:
    means = [group.spreads[metric].mean for group in table.groups if metric in group.spreads]
    return max(means, key=lambda mean: table.sign_of(metric) * mean)


def _latex(text: str) -> str:
    """A text that LaTeX sets as it is."""
    plain = re.sub(r"[\\~^&%$#_{}]", lambda found: LATEX[found.group()], " ".join(text.split()))
    return plain.replace("±", r"$\pm$")
