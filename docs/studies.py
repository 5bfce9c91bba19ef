"""The numbers of studies that have run, written into their yaml files, and docs/studies.md out of these.

    python docs/studies.py [FOLDER]

FOLDER holds sweeps (by default sweeps/). Of each study whose sweep at laptop size is there and whole, `measured` in
conf/study/NAME.yaml says means, intervals, seeds, minutes and the sentence that the numbers make.
"""

import re
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from convarium.config.accepts import shown
from convarium.config.study import Study, read_study
from convarium.results.directory import SweepDirectory
from convarium.results.intervals import spread
from convarium.results.rows import SEED, is_accuracy, open_table
from convarium.results.study import answer, values

STUDIES = Path(__file__).resolve().parents[1] / "conf/study"
PAGE = Path(__file__).with_name("studies.md")
HEAD = """# Studies

A question of the literature as one command: swept, run, answered. `study.size=laptop` (as it stands) ends within
minutes on two cores and shows what it says below; `study.size=full` is the paper's set-up. A difference is paired by
seed, with its 95 % interval, and p is corrected for the number of claims ([statistics.md](statistics.md)). A job that
diverged counts as 0 in an accuracy. Minutes are those of the machine as it was, with other work on it; processor time
is what the jobs took themselves.
`python docs/studies.py` makes this page from `conf/study/`.
"""


def measured(sweep: SweepDirectory, study: Study) -> dict[str, Any]:
    """What a sweep has come to: the settings in the order in which they were asked for."""
    table, order = open_table([sweep.path]), list(sweep.known())
    metrics = list(dict.fromkeys(claim.metric for claim in study.claims))
    means = {}
    for group in sorted(table.groups, key=lambda one: min(order.index(row.job) for row in one.rows)):
        name = " ".join(f"{axis}={shown(value)}" for axis, value in group.swept.items())
        found = {metric: values(table, group.rows, metric, SEED) for metric in metrics}
        means[name] = {
            metric: str(spread([*seeds.values()], share=is_accuracy(metric, seeds.values())))
            for metric, seeds in found.items()
            if seeds
        } | {"seeds": len(group.good)}
        if diverged := sum(row.status == "diverged" for row in group.rows):
            means[name]["diverged"] = diverged
    return {"answer": answer(table, study).sentence, "minutes": minutes(sweep), "means": means}


def minutes(sweep: SweepDirectory) -> dict[str, float]:
    """From the start of the first job to the end of the last, and of processor time, which does not depend on what
    else the machine did."""
    times = [datetime.fromisoformat(entry["time"]) for entry in sweep.entries() if entry["status"] != "queued"]
    results = [sweep.run(job).written_result() for job in sweep.known()]
    busy = sum(result.get("cpu_seconds") or 0.0 for result in results)
    wall = {"wall": round((max(times) - min(times)).total_seconds() / 60, 1)}
    return wall | ({"processor": round(busy / 60, 1)} if busy else {})


def update(name: str, sweep: SweepDirectory) -> None:
    """Write what was measured into the yaml of a study, if the sweep that it has now is what ran."""
    file = STUDIES / f"{name}.yaml"
    text = file.read_text(encoding="utf-8")
    node, ran = yaml.safe_load(text)["study"], sweep.description()["study"]
    if node["sizes"]["laptop"]["sweep"] != ran["sizes"]["laptop"]["sweep"]:
        print(f"{file}: its laptop size has changed since {sweep.path} ran; left as it is")
        return
    found = {"measured": measured(sweep, read_study(node))}
    block = yaml.safe_dump(found, sort_keys=False, allow_unicode=True, width=110)
    text = re.sub(r"^  measured:.*?(?=^  \w|^hydra:)", "", text, flags=re.M | re.S)
    indented = "".join(f"  {line}\n" for line in block.splitlines())
    file.write_text(text.replace("\nhydra:", f"\n{indented}hydra:", 1), encoding="utf-8")


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
        parts += [f"Measured: {got['answer']}\n", *([f"Why: {said['why']}\n"] if "why" in said else [])]
        parts += [f"| | {' | '.join(metrics)} |", f"|---|{'---|' * len(metrics)}"]
        parts += [
            f"| {name} | {' | '.join(str(row.get(m, '')) for m in metrics)} |" for name, row in got["means"].items()
        ]
        told = got["minutes"]
        busy = f", {told['processor']} of processor time" if "processor" in told else ""
        parts += [f"\n{told['wall']} minutes on two cores{busy}.\n"]
    return "\n".join(parts)


if __name__ == "__main__":
    for place in sorted(Path(sys.argv[1] if len(sys.argv) > 1 else "sweeps").glob("*-laptop")):
        sweep = SweepDirectory.open(place)
        ended = all(known.status in ("ok", "diverged") for known in sweep.known().values())
        if ended and "study" in sweep.description():
            update(place.name.removesuffix("-laptop"), sweep)
    PAGE.write_text(page(), encoding="utf-8")
