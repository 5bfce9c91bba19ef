"""One sweep, and everything that tells its numbers: they are those of each result.json, digit for digit."""

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import convarium as package
from convarium.observe.tracker import rows_of
from convarium.sweep.local.processes import Processes
from sweeps import board, results, sweep

METRICS = ("best/val/acc1", "val/acc1", "test/acc1")
Told = dict[str, dict[str, float]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, processes: Processes) -> Iterator[Path]:
    """A sweep of two networks and two seeds, the second of which W&B follows, offline."""
    place = tmp_path_factory.mktemp("agreement")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        assert sweep(processes, "arch.hidden=[16],[8]", "seed=range(1,2)") == 0
        assert sweep(processes, "arch.hidden=[16],[8]", "seed=1,2", "logger=wandb", "logger.wandb.mode=offline") == 0
        yield place


@pytest.fixture
def told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Told:
    """Job -> the metrics of its result.json; in the folder of the sweep."""
    monkeypatch.chdir(folder)
    found = {job: {name: result["metrics"][name] for name in METRICS} for job, result in results().items()}
    assert len({tuple(metrics.values()) for metrics in found.values()}) == 4
    return found


def of_rows(rows: list[dict[str, Any]]) -> Told:
    return {Path(row["path"]).name: {name: float(row[name]) for name in METRICS} for row in rows}


def test_leaderboard_report_and_plain_table_have_the_digits_of_each_result(
    told: Told, convarium: Callable[..., Any]
) -> None:
    table = package.load_sweep("sweeps/s")
    in_csv = csv.DictReader(io.StringIO(convarium("report", "sweeps/s", "format=csv").out))
    in_json = json.loads(convarium("report", "sweeps/s", "format=json").out)
    assert of_rows(board()) == told
    assert of_rows([dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]) == told
    assert of_rows(list(in_csv)) == told
    assert of_rows(in_json["jobs"]) == told
    for group in in_json["groups"]:
        for name in METRICS:
            values = [told[job][name] for job in group["jobs"]]
            assert group["over_seeds"][name]["mean"] == pytest.approx(sum(values) / len(values), rel=1e-12)
    page = Path("sweeps/s/report.html").read_text()
    data = json.loads(re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', page, re.DOTALL)[0])
    places = [column["key"] for column in data["columns"]]
    columns = {key: data["runs"]["figures"][places.index(key)] for key in METRICS}
    shown = {name: {key: column[k] for key, column in columns.items()} for k, name in enumerate(data["runs"]["names"])}
    assert shown == told
    for job, metrics in told.items():
        own = Path(f"sweeps/s/jobs/{job}/report.html").read_text()
        assert f"{metrics['test/acc1']:.4f}" in own or f"{100 * metrics['test/acc1']:.2f}" in own


def test_wandb_has_each_job_with_its_group_its_swept_values_and_its_digits(told: Told) -> None:
    folders = [*Path("sweeps/s/jobs").glob("*/wandb/offline-run-*")]
    assert len(folders) == 2
    for folder in folders:
        run = folder.parents[1]
        metrics = told[run.name]
        command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(folder)]
        lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout.splitlines()
        records: dict[str, list[Any]] = {}
        for record in map(json.loads, lines):
            records.setdefault(record["type"], []).append(record[record["type"]])
        summary = {key: value for one in records["summary"] for key, value in one.get("update", {}).items()}
        assert {name: summary[name] for name in METRICS} == metrics
        [start] = records["run"]
        assert (start["run_group"], set(start["config"]["update"]["swept"])) == ("s", {"arch.hidden", "seed"})
        logged = {row["item"]["trainer/global_step"]: row["item"] for row in records["history"] if "lr" in row["item"]}
        rows = {row["step"]: row["lr"] for row in rows_of(run / "metrics.csv") if "lr" in row}
        assert {step: float(item["lr"]) for step, item in logged.items()} == rows
        [page] = [one for one in records["artifact"] if one["type"] == "report"]
        assert page["name"] == f"report-{start['run_id']}"
