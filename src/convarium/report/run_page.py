"""RUN/report.html: what a run has come to, on one page. It is made of the files of the run alone. No torch here."""

import base64
import csv
import math
import shlex
import struct
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from convarium.config.accepts import shown
from convarium.config.keys import leaves
from convarium.config.keys import row as known_key
from convarium.errors import RunError
from convarium.files import is_full_disk, read_regular, write_atomically
from convarium.page import page
from convarium.progress_bar import doing
from convarium.report.assets import read, render, scripts
from convarium.report.measured import BINS, Measured
from convarium.report.svg import Series, heat_map, line_chart, reliability, shade
from convarium.results.intervals import wilson
from convarium.results.predictions import read_answers
from convarium.run.directory import RunDirectory, as_seen_from_here
from convarium.wording import compact, counted, is_share, one_line, printable, typed_line
from convarium.yaml_text import parse

PICTURES = {
    "worst_mistakes": "the misclassified test images of the highest loss, each with its prediction and the truth",
    "gradcam": "what speaks for the answer and for the truth in the worst mistakes (Grad-CAM)",
    "training_images": "training images as they are stored and as the network saw them in its first epochs",
    "gradient_flow": "norms of gradients, weights and updates of each layer over the training",
    "activations": "what each activation and normalization received over the training",
}
"""The figures that a page shows as they are, by their names, and what they are."""
LARGEST_PICTURE = 8_000_000  # bytes
MOST_IN_CELLS = 30  # classes; of more the confusion matrix is a map without names
MOST_PAIRS = 50
LOG_LINES = 25
NO_CURVE = ("train/images", "lr")
FILES = (
    "config.yaml",
    "overrides.yaml",
    "result.json",
    "metrics.csv",
    "predictions.npz",
    "gradient_flow.csv",
    "activations.csv",
    "train.log",
)

Row = dict[str, float]


def leave_run_page(run: RunDirectory) -> bool:
    """Write the page of a run that has ended, unless its config says `report: false`; whether it is there now. That it
    cannot be written is a line on stderr, whatever the reason."""
    try:
        if not run.config().get("report", True):
            return False
        write_run_page(run)
    except Exception as error:  # a page is never the failure of a run
        if not run.config_file.is_file() or (is_full_disk(error) and run.written_result().get("error")):
            return False  # of which the run has spoken itself
        with suppress(OSError):
            print(f"{run.page}: not written ({typed_line(error)})", file=sys.stderr, flush=True)
        return False
    return True


def end_in_page(run: RunDirectory) -> None:
    """Leave the page of a run that a person has started, and say where it is."""
    with doing("write the page"):
        is_there = not is_outdated(run) or leave_run_page(run)
    if is_there:
        print(f"  {as_seen_from_here(run.page)}\n", flush=True)


def is_outdated(run: RunDirectory) -> bool:
    """Whether a run has ended, or figures of it were drawn, since its page was written, or it has none."""
    try:
        written, figures = run.page.stat().st_mtime_ns, run.path / "figures"
        return written < max(path.stat().st_mtime_ns for path in (run.result_file, figures) if path.exists())
    except OSError:
        return run.result_file.is_file()


def write_run_page(run: RunDirectory, out: Path | None = None) -> Path:
    """Write the page of a run, into its folder or as another file, and return where. Raises RunError if the config of
    the run cannot be read, OSError if the page cannot be written."""
    facts = run_facts(run)
    if out is not None:
        facts["files"] = []  # they are not beside it
    title, body = f"{facts['name']}: {facts['status']}", render("run", **facts)
    text = page(title, body, style=read("styles/run.css"), scripts=scripts(["run"]), pictures=True)
    write_atomically(out or run.page, text.encode("utf-8", "replace").decode())  # a class may be called what is no text
    return out or run.page


def run_facts(run: RunDirectory) -> dict[str, Any]:
    """What the page says, by the names in its template; texts are escaped there."""
    config, result = run.config(), run.result()
    status = result.get("status") or "not started"
    metrics = {name: value for name, value in (result.get("metrics") or {}).items() if isinstance(value, int | float)}
    rows = read_rows(run)
    monitor = _monitor(config)
    tested, doubt = _tested(run, metrics)
    choices = config.get("choices") or {}
    return {
        "name": config.get("name") or run.path.name,
        "folder": run.path.name,
        "status": status,
        "error": result.get("error"),
        "is_well": status in ("ok", "pruned"),
        "result": result,
        "monitor": monitor,
        "best": _best(rows, monitor, metrics.get(f"best/{monitor}")),
        "measured": _measured(metrics),
        "tested": tested,
        "doubt": doubt,
        "interval": wilson(tested.right / tested.images, tested.images) if tested and tested.images else None,
        "facts": _facts(config, result),
        "notes": [*map(str, result.get("notes") or [])],
        "charts": charts(rows, monitor),
        "epochs": epochs(rows),
        "classes": tested.per_class() if tested else [],
        "matrix": _matrix(tested) if tested and len(tested.classes) <= MOST_IN_CELLS else None,
        "map": _map(tested) if tested and len(tested.classes) > MOST_IN_CELLS else None,
        "pairs": tested.confused(MOST_PAIRS) if tested else [],
        "bins": tested.bins() if tested else [],
        "reliability": _reliability(tested) if tested and tested.images else None,
        "num_bins": BINS,
        "pictures": dict(_pictures(run)),
        "log": _end_of_log(run) if status not in ("ok", "pruned", "queued", "not started") else [],
        "choices": {group: answer if isinstance(answer, str) else shown(answer) for group, answer in choices.items()},
        "words": _words(run),
        "config": printable(read_regular(run.config_file).decode(errors="replace")),
        "command": _command(run),
        "files": [name for name in FILES if (run.path / name).is_file()],
        "percent": lambda share, digits=2: "–" if math.isnan(share) else f"{100 * share:.{digits}f} %",
    }


def read_rows(run: RunDirectory) -> list[Row]:
    """The rows of metrics.csv; a line that is not whole, or holds something else than numbers, counts for nothing."""
    try:
        lines = csv.reader(read_regular(run.metrics_file).decode(errors="replace").splitlines())
        head = next(lines)
    except (OSError, StopIteration, csv.Error):
        return []
    found = []
    try:
        for line in lines:
            if len(line) == len(head):
                found.append({name: float(cell) for name, cell in zip(head, line, strict=True) if cell})
    except (ValueError, csv.Error):
        pass
    return [row for row in found if "step" in row and "epoch" in row]


def charts(rows: Sequence[Row], monitor: str) -> list[dict[str, Any]]:
    """The learning curves: the loss, what is monitored, every other metric, the learning rate; with their legends."""
    ends = [row["step"] / (row["epoch"] + 1) for row in rows if "train/loss" in row and row["epoch"] >= 0]
    per_epoch = max(ends[-1], 1.0) if ends else 1.0
    across = "epoch" if ends else "step"

    def line(name: str) -> list[tuple[float, float]]:
        return [(row["step"] / per_epoch, row[name]) for row in rows if math.isfinite(row.get(name, math.nan))]

    logged = dict.fromkeys(name for row in rows for name in row if name.startswith(("train/", "val/")))
    measures = dict.fromkeys(name.partition("/")[2] for name in logged if name not in (*NO_CURVE, "train/loss_step"))
    first = [name for name in ("loss", monitor.partition("/")[2]) if name in measures or name == "loss"]
    found = []
    for measure in dict.fromkeys((*first, *measures)):
        lines = [Series("training", 0, line(f"train/{measure}")), Series("validation", 1, line(f"val/{measure}"))]
        if measure == "loss":
            lines.insert(0, Series("training, single steps", 0, line("train/loss_step"), is_faint=True))
        if lines := [each for each in lines if each.points]:
            in_percent = is_share(measure, (y for each in lines for _, y in each.points))
            drawn = line_chart(measure, lines, across=across, in_percent=in_percent)
            found.append({"title": measure, "series": lines, "svg": drawn})
    if len(rate := line("lr")) > 1:
        lines = [Series("learning rate", 0, rate)]
        found.append(
            {"title": "lr", "series": lines, "svg": line_chart("learning rate", lines, across=across, may_be_log=False)}
        )
    return found


def epochs(rows: Sequence[Row]) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names of what is measured once an epoch, and for each epoch its last values, as texts."""
    table: dict[int, Row] = {}
    for row in rows:
        kept = {
            k: v
            for k, v in row.items()
            if k.startswith(("train/", "val/")) and k not in ("train/loss_step", "train/images")
        }
        if kept:
            table.setdefault(int(row["epoch"]), {}).update(kept)
    names = list(dict.fromkeys(name for row in table.values() for name in row))
    return names, [(epoch + 1, [_number(row.get(name)) for name in names]) for epoch, row in sorted(table.items())]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}" if abs(value) < 1e4 else f"{value:.6g}"


def _monitor(config: dict[str, Any]) -> str:
    """The metric that chooses the best weights."""
    node = (config.get("callbacks") or {}).get("checkpoint") or {}
    return str(node.get("monitor") or "val/acc1")


def _best(rows: Sequence[Row], monitor: str, value: float | None) -> tuple[int, float] | None:
    """The epoch whose weights are the best, counted from 1, and its value; of equal ones the last, as best.ckpt."""
    epochs = [int(row["epoch"]) + 1 for row in rows if value is not None and row.get(monitor) == value]
    return (epochs[-1], float(value)) if epochs and value is not None else None


def _measured(metrics: Row) -> list[tuple[str, list[str]]]:
    """A row for each metric: in training, validation, at best, and in the test, as texts."""
    splits = ("train", "val", "best/val", "test")
    parted = (name.partition("/") for name in metrics if name not in ("train/loss_step", "train/images"))
    names = dict.fromkeys(name for split, _, name in parted if split in splits)
    return [(name, [_number(metrics.get(f"{split}/{name}")) for split in splits]) for name in names]


def _tested(run: RunDirectory, metrics: Row) -> tuple[Measured | None, str | None]:
    """What predictions.npz says, if it is of the test that result.json has; else a line that says why not."""
    try:
        answers = read_answers(run.predictions)
    except RunError as error:
        return None, one_line(error)
    if answers is None or not len(answers.target):
        return None, None
    tested = Measured(answers)
    loss, accuracy = metrics.get("test/loss"), metrics.get("test/acc1", tested.right / tested.images)
    same = loss is not None and (math.isclose(loss, tested.loss, rel_tol=1e-3, abs_tol=1e-6) or loss != loss)
    if not same or abs(accuracy - tested.right / tested.images) > 1e-6:
        return None, "predictions.npz is of an earlier test of this run, and is left out"
    return tested, None


def _facts(config: dict[str, Any], result: dict[str, Any]) -> dict[str, str]:
    """What stands beside the result: the network, the data, the time and the place."""
    data, known = config["data"], leaves(config)
    kept = ("root", "split", "val_fraction", "split_seed", "folds", "fold", "image_size", "channels", "num_classes")
    told = [f"{name} {shown(data[name])}" for name in kept if data.get(name) is not None]
    wall, speed = result.get("wall_seconds"), result.get("images_per_second")
    versions = result.get("versions") or {}
    facts = {
        "network": f"{known.get('arch._target_', '?').rpartition('.')[2]}"
        + (f", {result['params']:,} parameters" if result.get("params") else "")
        + (f", {compact(result['macs'])} multiply-adds per image" if result.get("macs") else ""),
        "data": ", ".join([str(data.get("_target_", "?")).rpartition(".")[2], *told]),
        "trained": f"{counted(result.get('epochs') or 0, 'epoch')}, {result.get('steps') or 0:,} of"
        f" {result.get('total_steps') or 0:,} steps" + (f", in {_duration(wall)}" if wall is not None else ""),
        "speed": f"{speed:,.0f} images per second" if speed else "",
        "test": str(result.get("test_views") or ""),
        "device": ", ".join(str(part) for part in (result.get("device"), result.get("host")) if part),
        "seed": str(result.get("seed", config.get("seed"))),
        "ended" if result.get("status") != "running" else "seen last": str(result.get("heartbeat") or ""),
        "commit": str(result.get("git") or ""),
        "versions": ", ".join(f"{name} {value}" for name, value in versions.items()),
        "config hash": str(result.get("config_hash") or ""),
    }
    return {name: value for name, value in facts.items() if value}


def _duration(seconds: float) -> str:
    """ "27 s", "12 min 5 s", "3 h 20 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _matrix(tested: Measured) -> list[tuple[str, list[tuple[str, str]]]]:
    """A row for each class: its name, and for each prediction the shade and the number of images."""
    number = {(int(t), int(p)): int(n) for t, p, n in zip(*tested.cells(), strict=True)}
    found = []
    for truth, (name, there) in enumerate(zip(tested.classes, tested.support().tolist(), strict=True)):
        counts = [number.get((truth, prediction), 0) for prediction in range(len(tested.classes))]
        cells = [(shade(n / there, truth == k) if n else "", f"{n:,}" if n else "") for k, n in enumerate(counts)]
        found.append((name, cells))
    return found


def _map(tested: Measured) -> str:
    there = tested.support()
    cells = ((int(t), int(p), float(n / there[t])) for t, p, n in zip(*tested.cells(), strict=True))
    return heat_map(len(tested.classes), cells)


def _reliability(tested: Measured) -> str:
    return reliability([(bin.low, bin.high, bin.accuracy, bin.images) for bin in tested.bins()])


def _pictures(run: RunDirectory) -> Iterable[tuple[str, dict[str, Any]]]:
    """The figures that are there, as `data:` addresses, with their sizes and what they are."""
    for name, what in PICTURES.items():
        try:
            picture = read_regular(run.path / "figures" / f"{name}.png")
        except OSError:
            continue
        if picture[:8] == b"\x89PNG\r\n\x1a\n" and 24 <= len(picture) <= LARGEST_PICTURE:
            width, height = struct.unpack(">II", picture[16:24])
            address = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
            yield name, {"address": address, "what": what, "width": width, "height": height}


def _end_of_log(run: RunDirectory) -> list[str]:
    """The last lines of train.log."""
    try:
        text = read_regular(run.log_file)[-20_000:].decode(errors="replace")
    except OSError:
        return []
    return [printable(line)[:500] for line in text.split("\n") if line.strip()][-LOG_LINES:]


def _overrides(run: RunDirectory) -> list[str]:
    try:
        words = parse(read_regular(run.overrides_file).decode(errors="replace"))
    except (OSError, yaml.YAMLError):
        return []
    return [word for word in words if isinstance(word, str)] if isinstance(words, list) else []


def _words(run: RunDirectory) -> list[tuple[str, str]]:
    """What was asked for, word by word, and what each key means."""
    found = []
    for word in _overrides(run):
        known = known_key(word.lstrip("+~").partition("=")[0].replace("/", "."))
        found.append((word, known.meaning if known else ""))
    return found


def _command(run: RunDirectory) -> str:
    words = [word for word in _overrides(run) if not word.startswith(("run_dir=", "resume="))]
    return shlex.join(["python", "train.py", *words])
