"""The numbers of studies that have run, written into their yaml files, and docs/studies.md out of these.

    python docs/studies.py [FOLDER]

FOLDER holds sweeps (by default sweeps/). Of each study whose sweep at laptop size is there and whole, `measured` in
conf/study/NAME.yaml says means, intervals, seeds, minutes of computing and the sentence that the numbers make.
"""

import re
import sys
from pathlib import Path
from typing import Any

import yaml

from convarium.config.accepts import shown
from convarium.config.study import read_study
from convarium.results.directory import SweepDirectory
from convarium.results.rows import open_table
from convarium.results.study import answer

STUDIES = Path(__file__).resolve().parents[1] / "conf/study"
PAGE = Path(__file__).with_name("studies.md")
HEAD = """# Studies

A question of the literature as one command: swept, run, answered. `study.size=laptop` (as it stands) ends within
minutes on two cores and shows what it says below; `study.size=full` is the paper's set-up. A difference is paired by
seed, with its 95 % interval, and p is corrected for the number of claims ([statistics.md](statistics.md)).
`python docs/studies.py` makes this page from `conf/study/`.
"""


def measured(sweep: SweepDirectory) -> dict[str, Any]:
    """What a sweep has come to."""
    table, study = open_table([sweep.path]), read_study(sweep.description()["study"])
    metrics = list(dict.fromkeys(claim.metric for claim in study.claims))
    rows = {}
    for group in table.groups:
        name = " ".join(f"{axis}={shown(value)}" for axis, value in group.swept.items())
        figures = {metric: group.over["seed"][metric] for metric in metrics if metric in group.over["seed"]}
        rows[name] = {metric: str(one) for metric, one in figures.items()} | {"seeds": len(group.good)}
    minutes = sum(row.figures.get("wall_seconds") or 0.0 for row in table.rows) / 60
    return {"answer": answer(table, study).sentence, "minutes of jobs": round(minutes, 1), "means": rows}


def update(name: str, sweep: SweepDirectory) -> None:
    """Write what was measured into the yaml of a study."""
    file = STUDIES / f"{name}.yaml"
    node = yaml.safe_dump({"measured": measured(sweep)}, sort_keys=False, allow_unicode=True, width=110)
    text = re.sub(r"^  measured:.*?(?=^hydra:)", "", file.read_text(encoding="utf-8"), flags=re.M | re.S)
    block = "".join(f"  {line}\n" for line in node.splitlines())
    file.write_text(text.replace("\nhydra:", f"\n{block}hydra:", 1), encoding="utf-8")


def page() -> str:
    """docs/studies.md."""
    parts = [HEAD]
    for file in sorted(STUDIES.glob("*.yaml")):
        said = (yaml.safe_load(file.read_text(encoding="utf-8")) or {}).get("study")
        if said is None:
            continue
        laptop, full, got = said["sizes"]["laptop"], said["sizes"]["full"], said.get("measured")
        parts += [f"## {said['name']}\n", f"**{said['question']}** {said['source']}.\n"]
        parts += [f"`python train.py study={said['name']}`\n", f"Expected: {said['expected']}\n"]
        parts += [f"At laptop size it can show: {laptop['shows']}. Full size: {full['hardware']}.\n"]
        if got is None:
            parts += ["Measured: not run.\n"]
            continue
        metrics = list(dict.fromkeys(name for row in got["means"].values() for name in row))
        parts += [f"Measured: {got['answer']}\n", f"| | {' | '.join(metrics)} |", f"|---|{'---|' * len(metrics)}"]
        parts += [
            f"| {name} | {' | '.join(str(row.get(m, '')) for m in metrics)} |" for name, row in got["means"].items()
        ]
        parts += [f"\n{got['minutes of jobs']} minutes of jobs, two at a time on two cores.\n"]
    return "\n".join(parts)


if __name__ == "__main__":
    for place in sorted(Path(sys.argv[1] if len(sys.argv) > 1 else "sweeps").glob("*-laptop")):
        sweep = SweepDirectory.open(place)
        if all(known.status == "ok" for known in sweep.known().values()) and "study" in sweep.description():
            update(place.name.removesuffix("-laptop"), sweep)
    PAGE.write_text(page(), encoding="utf-8")
