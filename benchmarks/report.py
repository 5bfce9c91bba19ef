"""The page of a sweep of 1,000 runs of 100 epochs: how long it takes to write, its size, and how fast a browser has it.

    python benchmarks/report.py [runs] [epochs] [repetitions]

Limits, for 1,000 runs: written in 10 s, reading every result.json and metrics.csv; 1 MB; ready in 1 s; sorted in 100 ms
(a busy machine says more about its load: the best of the repetitions counts). The peer is plotly 4.1, of which the full
bundle alone, the only one with parallel coordinates, has 4.8 MB; a page of 1,000 runs with it took 3.9 s and more to be
ready where one of plain SVG took 0.1 to 0.6. Without node, puppeteer-core or Chromium the browser is left out. The exit
code is 1 if a limit is missed.
"""

import json
import math
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from convarium.report.sweep_page import write_sweep_page
from convarium.results.directory import SweepDirectory

LIMITS = {"written, s": 10.0, "size, MB": 1.0, "ready, s": 1.0, "sorted, ms": 100.0, "all rows sorted, ms": 100.0}
AXES = {"arch": ["lenet5", "resnet20", "vgg11", "inception_v1"], "norm": ["none", "batch", "group", "layer", "lrn"]}
EACH = ("val/loss", "val/acc1", "val/acc5", "train/loss", "train/acc1", "train/acc5", "train/images")
STEPS = ("images_per_second", "data_wait", "lr", "train/loss_step", "grad_norm", "clipped_share")
SCRIPT = Path(__file__).parents[1] / "tests" / "browser.js"
PARTS = "['curves', 'effects', 'parallel', 'scatter']"
ASKED = {
    "ready, s": "performance.getEntriesByType('navigation')[0].loadEventEnd / 1000",
    "drawn, s": f"(() => {{ const start = performance.now(); {PARTS}.forEach(draw); document.body.offsetHeight; "
    "return (performance.now() - start) / 1000; })()",
    "sorted, ms": "SORT",
    "all rows": "(() => { view.means = false; order.all = true; refresh(); return view.items.length; })()",
    "all rows sorted, ms": "SORT",
    "nodes": "document.querySelectorAll('*').length",
}
SORT = (
    "(() => { const start = performance.now(); document.querySelectorAll('#runs th button')[7].click(); "
    "document.body.offsetHeight; return performance.now() - start; })()"
)


def make(folder: Path, runs: int, epochs: int) -> SweepDirectory:
    """A sweep as it would be: four axes with five seeds each, curves with noise, every column that a run writes."""
    sweep, draw = SweepDirectory(folder), random.Random(0)
    sweep.make()
    sweep.describe(axes=["arch", "norm", "optimizer.lr", "seed"], monitor="val/acc1", mode="max", command=["-m"])
    rates = [round(10 ** (-4 + 3 * k / 9), 6) for k in range(10)]
    entries = []
    for number in range(runs):
        rest, seed = divmod(number, 5)
        arch, norm, rate = rest % 4, rest // 4 % 5, rates[rest // 20 % 10]
        swept = {"arch": AXES["arch"][arch], "norm": AXES["norm"][norm], "optimizer.lr": rate, "seed": seed}
        name = f"{swept['arch']}-{swept['norm']}-lr-{rate}-seed-{seed}-{number:012x}"
        entries.append({"job": name, "status": "ok", "key": name, "swept": swept, "words": []})
        run, lines = sweep.run(name), [",".join(("step", "epoch", *STEPS, *EACH))]
        run.path.mkdir()
        top, speed = 0.6 + 0.05 * arch + 0.03 * norm - 0.05 * abs(math.log10(rate) + 2.5), 0.03 + 0.02 * draw.random()
        for epoch in range(epochs):
            right = top * (1 - math.exp(-speed * (epoch + 1))) + draw.gauss(0, 0.01)
            decay = 0.5 * rate * (1 + math.cos(math.pi * epoch / epochs))
            step = [4000 + draw.gauss(0, 100), abs(draw.gauss(0.03, 0.01)), decay, 2.5 - 2 * right + draw.gauss(0, 0.1)]
            each = [2 - 1.9 * right, right, min(1.0, right + 0.3), 2 - 2 * right, right + 0.02, min(1.0, right + 0.31)]
            lines.append(
                f"{400 * epoch + 350},{epoch}," + ",".join(map(repr, [*step, 1 + draw.random(), 0.9])) + "," * 7
            )
            lines.append(f"{400 * epoch + 400},{epoch}" + "," * 7 + ",".join(map(repr, [*each, 50000])))
        run.metrics_file.write_text("\n".join(lines) + "\n")
        metrics = {"best/val/acc1": right, "val/acc1": right - 0.001, "test/acc1": right + draw.gauss(0, 0.005)}
        more = {"val/macro_f1": right - draw.random() / 50, "test/macro_f1": right - draw.random() / 50}
        facts = {"params": 100_000 * (arch + 1), "macs": 10**7 * (arch + 1), "wall_seconds": 60 + draw.random()}
        result: dict[str, Any] = {"status": "ok", "metrics": metrics | more, "images_per_second": 4000.5, **facts}
        result |= {"epochs": epochs, "versions": {"torch": "2.15.0"}, "device": "cpu", "host": "here"}
        run.result_file.write_text(json.dumps(result, indent=2))
    sweep.append(entries)
    return sweep


def in_browser(path: Path, repetitions: int) -> dict[str, float]:
    """The best of what a browser measures; nothing without one."""
    node, npm, chromium = shutil.which("node"), shutil.which("npm"), shutil.which("chromium")
    if not node or not npm or not chromium:
        print("no browser: node, npm and chromium are needed")
        return {}
    root = subprocess.run([npm, "root", "-g"], capture_output=True, text=True).stdout.strip()
    asked = {"file": str(path), "steps": [SORT if step == "SORT" else step for step in ASKED.values()]}
    done = subprocess.run(
        [node, str(SCRIPT), chromium],
        input=repetitions * (json.dumps(asked) + "\n"),
        capture_output=True,
        text=True,
        env={"NODE_PATH": root, **os.environ},
    )
    if done.returncode:
        print(f"no browser: {done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}")
        return {}
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    assert not any(one["errors"] for one in seen), seen[0]["errors"]
    return {name: min(one["answers"][k] for one in seen) for k, name in enumerate(ASKED)}


def main(runs: int, epochs: int, repetitions: int) -> int:
    with tempfile.TemporaryDirectory() as folder:
        sweep = make(Path(folder, "s"), runs, epochs)
        times = []
        for _ in range(repetitions):
            start = time.perf_counter()
            page = write_sweep_page([sweep.path])
            times.append(time.perf_counter() - start)
        found = {"written, s": min(times), "size, MB": page.stat().st_size / 1e6, **in_browser(page, repetitions)}
    print(f"{runs} runs of {epochs} epochs, the best of {repetitions}")
    for name, value in found.items():
        limit = f"  limit {LIMITS[name]:g}{'' if value <= LIMITS[name] else '  MISSED'}" if name in LIMITS else ""
        print(f"{name:>20} {value:10.3f}{limit}")
    return int(any(value > LIMITS.get(name, math.inf) for name, value in found.items()))


if __name__ == "__main__":
    given = [int(word) for word in sys.argv[1:]]
    sys.exit(main(*given, *(1000, 100, 3)[len(given) :]))
