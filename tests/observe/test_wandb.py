"""W&B as it runs: offline against its own reader, online against a loopback server that speaks what a run needs."""

import csv
import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from convarium.observe.tracker import rows_of
from convarium.observe.wandb import EXIT_CODES, STEP, Wandb, why_offline
from convarium.run.directory import RunDirectory
from experiments import experiment
from made_runs import made_run

KEY = "0123456789" * 4
CONFIG: dict[str, Any] = {
    "arch": {"_target_": "convarium.archs.lenet.LeNet5", "num_classes": 10},
    "batch_size": 64,
    "parts": {"norm": None},
    "tags": ["a", "b"],
    "note": KEY,
}
ROWS = [(step, {"epoch": step // 20, "train/loss_step": 1 / (step + 1), "lr": 0.1}) for step in range(0, 40, 10)] + [
    (20, {"epoch": 0, "val/loss": 0.7, "val/acc1": 0.5}),
    (40, {"epoch": 1, "val/loss": float("nan"), "val/acc1": 0.75}),
]


@pytest.fixture(autouse=True)
def scrubbed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No key, no settings and no cache but the test's own."""
    for name in list(os.environ):
        if name.startswith("WANDB"):
            monkeypatch.delenv(name)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


class Handler(BaseHTTPRequestHandler):
    """Answers what W&B's client asks in the course of a run and keeps what it uploads."""

    protocol_version = "HTTP/1.1"
    server: "Server"

    def log_message(self, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self._answer({})

    def do_PUT(self) -> None:
        self._body()
        self._answer({})

    def do_POST(self) -> None:
        body = self._body()
        if not self.path.endswith("/graphql"):
            for name, part in json.loads(body).get("files", {}).items():
                self.server.lines.setdefault(name, []).extend(part["content"])
            self.server.lines["exit"] = [*self.server.lines.get("exit", []), json.loads(body).get("exitcode")]
            self._answer({})
            return
        if self.headers["Authorization"] is None or not self.server.accepts_key:
            self._answer({"data": {"viewer": None}})
            return
        question = json.loads(body)
        query, variables = question["query"], question.get("variables") or {}
        self.server.asked.append(variables)
        if self.server.hangs and "viewer { id }" not in query:
            time.sleep(60)
        data: dict[str, Any] = {
            "viewer": {"id": "u", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
        }
        project = {"id": "P", "name": "convarium", "entity": {"id": "E", "name": "me"}}
        if "upsertBucket" in query:
            bucket = {"id": "B", "name": variables.get("name"), "displayName": "n", "config": "{}", "project": project}
            data = {"upsertBucket": {"bucket": {**bucket, "historyLineCount": 0}, "inserted": True}}
        elif "RunResumeStatus" in query:
            data = {"model": {**project, "bucket": self.server.bucket}}
        elif "createRunFiles" in query:
            url = f"http://127.0.0.1:{self.server.server_port}/file"
            files = [{"name": name, "uploadUrl": url} for name in variables["files"]]
            data = {"createRunFiles": {"runID": "B", "uploadHeaders": [], "files": files}}
        self._answer({"data": data})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _answer(self, content: dict[str, Any]) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.accepts_key, self.hangs = True, False
        self.bucket: dict[str, Any] | None = None
        self.lines: dict[str, list[Any]] = {}
        self.asked: list[dict[str, Any]] = []


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    with Server() as server:
        Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield server
        server.shutdown()


def track(tracker: Wandb, run_dir: Path, *, run_id: str | None = None, status: str = "ok", first: int = 0) -> Wandb:
    """Log the rows from step `first` on, as a run does."""
    tracker.begin(run_dir=run_dir, name="lenet5-digits", config=CONFIG, run_id=run_id)
    for step, row in ROWS:
        if step >= first:
            tracker.log_metrics(row, step)
    tracker.finalize("success")
    tracker.end(status, {"best/val/acc1": 0.75, "params": 61706})
    return tracker


def inspect(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """An offline run as `wandb leet` reads it, records by type."""
    command = [str(Path(sys.executable).with_name("wandb")), "leet", "inspect", "--json", str(folder)]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    records: dict[str, list[dict[str, Any]]] = {}
    for line in text.splitlines():
        record = json.loads(line)
        records.setdefault(record["type"], []).append(record[record["type"]])
    return records


def history(records: dict[str, list[dict[str, Any]]]) -> list[tuple[int, dict[str, Any]]]:
    """The logged rows, without W&B's own columns."""
    rows = []
    for record in records["history"]:
        item = {name: value for name, value in record["item"].items() if not name.startswith("_")}
        rows.append((item.pop(STEP), {name: float(value) for name, value in item.items()}))
    return rows


def numbers(rows: list[tuple[int, dict[str, float]]]) -> list[str]:
    """Rows in a form in which nan equals nan."""
    return [repr((step, {name: float(value) for name, value in sorted(row.items())})) for step, row in rows]


def services() -> list[str]:
    """W&B's background processes among our children."""
    if shutil.which("ps") is None:
        return []
    mine = subprocess.run(["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True).stdout
    return [line for line in mine.splitlines() if "wandb-core" in line]


def offline_folders(run_dir: Path) -> list[Path]:
    return sorted(run_dir.glob("wandb/offline-run-*"))


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.startswith("convarium")]


def test_an_offline_run_reads_back_as_it_was_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run_dir = tmp_path / "a run=é"
    run_dir.mkdir()
    tracker = Wandb(group="sweep", tags=["x"])
    began = time.monotonic()
    track(tracker, run_dir)
    assert time.monotonic() - began < 10.0
    [folder] = offline_folders(run_dir)
    [line] = messages(caplog)
    reason = "no API key: set WANDB_API_KEY or run `wandb login`"
    assert line == f"wandb: offline ({reason}); upload it later with: wandb sync '{folder}'"
    records = inspect(folder)
    assert numbers(history(records)) == numbers(ROWS)
    [run] = records["run"]
    assert run["run_id"] == tracker.run_id == tracker.version
    shown = {name: run[name] for name in ("display_name", "run_group", "job_type", "tags")}
    assert shown == {"display_name": "lenet5-digits", "run_group": "sweep", "job_type": "train", "tags": ["x"]}
    config = run["config"]["update"]
    assert {key: config[key] for key in CONFIG} == CONFIG | {"note": config["note"]}
    summary = {key: value for record in records["summary"] for key, value in record.get("update", {}).items()}
    assert (summary["best/val/acc1"], summary["params"], summary["status"]) == (0.75, 61706, "ok")
    assert [record.get("exit_code", 0) for record in records["exit"]] == [0]
    assert not (tmp_path / "home").exists()
    assert services() == []
    assert not any(name.startswith("WANDB") for name in os.environ)


NAMED = {"PROJECT": "p", "ENTITY": "me", "NAME": "n", "RUN_GROUP": "g", "JOB_TYPE": "j", "TAGS": "a,b", "NOTES": "o"}
SHOWN = ("project", "entity", "display_name", "run_group", "job_type", "tags", "notes")


def test_variables_of_wandb_win_over_ours_and_not_over_what_is_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in NAMED.items():
        monkeypatch.setenv(f"WANDB_{name}", value)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path / "theirs"))
    monkeypatch.setenv("WANDB_RUN_ID", "abcd1234")
    (tmp_path / "theirs").mkdir()
    tracker = Wandb(mode="offline")
    typed = Wandb(mode="offline", project="q", name="m", group="h", job_type="k", tags=["c"], notes="r", id="typed")
    shown = []
    for each, config in ((tracker, {"sweep": {"name": None}}), (typed, {"sweep": {"name": "s"}})):
        each.begin(run_dir=tmp_path, name="lenet5-digits", config=config, run_id=None)
        each.end("ok", {})
        [folder] = (tmp_path / "theirs" / "wandb").glob(f"offline-run-*-{each.run_id}")
        [run] = inspect(folder)["run"]
        shown.append([run.get(name) for name in SHOWN])
    assert (tracker.run_id, typed.run_id) == ("abcd1234", "typed")
    assert shown == [["p", "me", "n", "g", "j", ["a", "b"], "o"], ["q", "me", "m", "h", "k", ["c"], "r"]]
    in_a_sweep = Wandb()._choose_id(None, {"sweep": {"name": "s"}})
    assert in_a_sweep != "abcd1234"  # all jobs would be one run


def test_a_job_of_a_sweep_is_grouped_by_its_name_and_has_its_swept_values_for_tags_and_columns(tmp_path: Path) -> None:
    swept = {"optimizer.lr": 0.1, "norm": "batch", "arch.hidden": [16, 8], "arch.pattern": "x" * 80}
    tracker = Wandb(mode="offline", tags=["mine"])
    tracker.begin(run_dir=tmp_path, name="n", config={"sweep": {"name": "s", "swept": swept}}, run_id=None)
    Image.new("RGB", (6, 4)).save(tmp_path / "curves.png")
    tracker.log_metrics({"loss": 1.0}, 7)
    tracker.end("ok", {}, [tmp_path / "curves.png"])
    [folder] = offline_folders(tmp_path)
    records = inspect(folder)
    assert [(run["project"], run["run_group"]) for run in records["run"]] == [("convarium", "s")]
    [run] = records["run"]
    tags = ["mine", "optimizer.lr=0.1", "norm=batch", "arch.hidden=[16, 8]", f"arch.pattern={'x' * 51}"]
    assert run["tags"] == tags
    assert run["config"]["update"]["swept"] == {**swept, "arch.hidden": "[16, 8]"}
    figures = [record["item"] for record in records["history"] if "figures/curves" in str(record["item"])]
    assert [figure[STEP] for figure in figures] == [7]
    [image] = folder.glob("files/media/images/figures/*.png")
    assert image.read_bytes() == (tmp_path / "curves.png").read_bytes()


def only_line(run_dir: Path, caplog: pytest.LogCaptureFixture) -> str:
    """What a run says that is offline."""
    assert len(offline_folders(run_dir)) == 1
    [line] = messages(caplog)
    return line


def test_the_status_becomes_the_exit_code() -> None:
    assert [EXIT_CODES.get(status, 1) for status in ("ok", "pruned", "failed", "diverged", "oom")] == [0, 0, 1, 1, 1]


def test_a_resumed_offline_run_holds_the_whole_run(tmp_path: Path) -> None:
    first = track(Wandb(mode="offline"), tmp_path, status="interrupted")
    [folder] = offline_folders(tmp_path)
    assert [record["exit_code"] for record in inspect(folder)["exit"]] == [130]
    with (tmp_path / "metrics.csv").open("w", newline="") as file:  # cut back to step 20
        names = sorted({name for _, row in ROWS for name in row} - {"epoch"})
        table = csv.DictWriter(file, ["step", "epoch", *names], restval="")
        table.writeheader()
        table.writerows({"step": step, **row} for step, row in ROWS if step <= 20)
    while time.strftime("%H%M%S") in folder.name:  # W&B names its folders by the second
        time.sleep(0.05)
    second = track(Wandb(mode="offline"), tmp_path, run_id=first.run_id, first=21)
    assert second.run_id == first.run_id
    rows = history(inspect(offline_folders(tmp_path)[-1]))
    assert numbers(rows) == numbers([row for row in ROWS if row[0] <= 20] + [row for row in ROWS if row[0] > 20])


def test_a_run_is_online_with_a_key_and_a_server(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = track(Wandb(), tmp_path, status="failed")
    assert messages(caplog) == []
    uploaded = [json.loads(line) for line in server.lines["wandb-history.jsonl"]]
    rows = [
        (row[STEP], {name: row[name] for name in row if name != STEP and not name.startswith("_")}) for row in uploaded
    ]
    assert numbers(rows) == numbers(ROWS)
    assert server.lines["exit"][-1] == 1
    assert {asked["name"] for asked in server.asked if "config" in asked} == {tracker.run_id}
    configs = [json.loads(asked["config"]) for asked in server.asked if asked.get("config")]
    assert configs[0]["note"]["value"] == "(secret)"
    assert configs[0]["arch"]["value"] == CONFIG["arch"]
    files = [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()]
    assert files == []
    assert services() == []


def test_a_resumed_online_run_goes_on_behind_its_last_row(server: Server, tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("step,epoch,train/loss_step\n10,0,0.5\n")
    server.bucket = {
        "id": "B",
        "name": "abcd1234",
        "displayName": "n",
        "historyLineCount": 2,
        "eventsLineCount": 0,
        "logLineCount": 0,
        "historyTail": json.dumps([json.dumps({"_step": 5, "_runtime": 3, STEP: 30})]),
        "eventsTail": "[]",
        "summaryMetrics": "{}",
        "config": "{}",
        "tags": [],
        "wandbConfig": json.dumps({"t": 1}),
    }
    tracker = track(Wandb(), tmp_path, run_id="abcd1234", first=20)
    assert tracker.run_id == "abcd1234"
    uploaded = [json.loads(line) for line in server.lines["wandb-history.jsonl"]]
    assert [row["_step"] for row in uploaded] == [6, 7, 8, 9]
    assert [row[STEP] for row in uploaded] == [20, 30, 20, 40]


def test_online_without_a_key_asks_nobody(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    track(Wandb(mode="online"), tmp_path)
    assert only_line(tmp_path, caplog).startswith("wandb: offline (no API key: ")


def test_a_refused_key_means_offline(server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    server.accepts_key = False
    track(Wandb(), tmp_path)
    reason = f"http://127.0.0.1:{server.server_port} refuses the API key"
    assert only_line(tmp_path, caplog).startswith(f"wandb: offline ({reason}); upload")


def test_a_malformed_key_means_offline(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "too-short")
    track(Wandb(), tmp_path)
    line = only_line(tmp_path, caplog)
    assert line.startswith("wandb: offline (WANDB_API_KEY invalid:")
    assert "too-short" not in line


def test_no_network_means_offline_at_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("WANDB_BASE_URL", address)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    began = time.monotonic()
    track(Wandb(), tmp_path)
    assert time.monotonic() - began < 10.0
    assert only_line(tmp_path, caplog).startswith(f"wandb: offline ({address} does not answer); upload")


def test_online_waits_for_no_server_that_is_not_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    began = time.monotonic()
    track(Wandb(mode="online"), tmp_path)
    assert time.monotonic() - began < 10.0
    assert only_line(tmp_path, caplog).startswith("wandb: offline (http://127.0.0.1:9 does not answer); upload")


def test_a_silent_server_means_offline_within_the_time_limit(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Wandb, "connecting", 1.0)
    server.hangs = True  # after it has accepted the key
    began = time.monotonic()
    track(Wandb(), tmp_path)
    assert time.monotonic() - began < 10.0
    [line] = messages(caplog)
    assert line.startswith("wandb: offline (")
    assert str(offline_folders(tmp_path)[0]) in line
    assert numbers(history(inspect(offline_folders(tmp_path)[0]))) == numbers(ROWS)
    assert services() == []


def test_the_probe_is_bounded_when_nothing_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        import wandb

        began = time.monotonic()
        assert "does not answer" in (why_offline(seconds=0.5) or "")
        assert time.monotonic() - began < 5.0
        wandb.teardown()


def test_a_key_of_netrc_is_found(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1:{server.server_port}\n  login user\n  password {KEY}\n")
    track(Wandb(), tmp_path)
    assert offline_folders(tmp_path) == []
    assert "wandb-history.jsonl" in server.lines


def test_disabled_writes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    track(Wandb(mode="disabled"), tmp_path)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    track(Wandb(), tmp_path)
    assert messages(caplog) == []
    assert not list(tmp_path.rglob("*.wandb"))


def test_a_frozen_service_costs_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from wandb.sdk import wandb_setup

    monkeypatch.setattr(Wandb, "farewell", 1.0)
    tracker = Wandb(mode="offline")
    tracker.begin(run_dir=tmp_path, name="n", config={}, run_id=None)
    while tracker._run is None:
        time.sleep(0.05)
    service = wandb_setup._singleton._connection._proc._process  # type: ignore[union-attr]
    service.send_signal(signal.SIGSTOP)
    began, thread = time.monotonic(), tracker._thread
    tracker.end("ok", {})
    assert time.monotonic() - began < 5.0
    assert thread is not None
    thread.join(10.0)  # the call that hung fails when its service is gone, and says nothing more
    assert capfd.readouterr().err == ""
    [line] = messages(caplog)
    assert line.startswith(
        "wandb: given up (not finished after 1 s); the run goes on, metrics.csv has every row, and: "
    )
    assert service.poll() == -signal.SIGKILL
    assert wandb_setup._singleton is None
    assert "WANDB_SERVICE" not in os.environ


BEGUN = """
import os, signal, sys, time
from pathlib import Path
from convarium.observe.wandb import Wandb
Wandb.farewell = 6.0
tracker = Wandb(mode="offline")
tracker.begin(run_dir=Path(sys.argv[1]), name="n", config={}, run_id=None)
tracker.log_metrics({"loss": 1.0}, 0)
while tracker._run is None: time.sleep(0.05)
from wandb.sdk import wandb_setup
pid = wandb_setup._singleton._connection._proc._process.pid
print(pid, flush=True)
"""
"""A process that tracks a run, and says which is W&B's."""


def in_a_process(code: str, run_dir: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BEGUN + code, str(run_dir)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


@pytest.mark.slow
def test_a_frozen_service_does_not_hold_up_the_exit(tmp_path: Path) -> None:
    began = time.monotonic()
    freeze = "os.kill(pid, signal.SIGSTOP); began = time.monotonic(); tracker.end('ok', {})\n"
    done = in_a_process(freeze + "print(time.monotonic() - began)", tmp_path)
    pid, waited = done.stdout.split()
    assert done.returncode == 0, done.stderr
    assert float(waited) < 7.0
    assert time.monotonic() - began < 60.0
    [line] = done.stderr.splitlines()
    assert line.startswith(
        "wandb: given up (not finished after 6 s); the run goes on, metrics.csv has every row, and: wandb sync"
    )
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


@pytest.mark.slow
def test_the_service_ends_with_a_killed_run(tmp_path: Path) -> None:
    done = in_a_process("os.kill(os.getpid(), signal.SIGKILL)", tmp_path)
    assert done.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 10.0
    while time.monotonic() < deadline:
        try:
            os.kill(int(done.stdout), 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("wandb-core outlives the run")


def test_a_whole_run_reads_back_equal_to_its_metrics_csv_and_is_the_run_that_it_is_without(tmp_path: Path) -> None:
    options = ("arch=logistic_regression", "trainer.max_epochs=2")
    plain = experiment(*options, folder="plain")
    run = experiment(*options, "logger=wandb", "logger.wandb.tags=[x]")
    tensors, expected = load_file(run.weights), load_file(plain.weights)
    assert all(torch.equal(tensors[name], expected[name]) for name in expected)
    [folder] = offline_folders(tmp_path / "run")
    records = inspect(folder)
    tracked: dict[int, dict[str, float]] = {}
    for step, row in history_of_numbers(records):
        tracked.setdefault(step, {}).update(row)
    with run.metrics_file.open(newline="") as file:
        written = {
            int(row["step"]): {name: float(cell) for name, cell in row.items() if cell and name != "step"}
            for row in csv.DictReader(file)
        }
    assert len(written) > 8
    assert tracked == written
    result = run.result()
    summary = {key: value for record in records["summary"] for key, value in record.get("update", {}).items()}
    assert result["metrics"].items() <= summary.items()
    assert (summary["params"], summary["status"]) == (result["params"], "ok")
    recorded = records["run"][0]["config"]["update"]
    assert {key: value for key, value in recorded.items() if key != "_wandb"} == run.config()


@pytest.mark.parametrize(("key", "value"), [("id", "a/b"), ("id", "")])
def test_a_wrong_value_is_refused_by_name(key: str, value: str) -> None:
    with pytest.raises(ValueError, match=f"{key}='{value}'"):
        Wandb(**{key: value})  # type: ignore[arg-type]


# runs replayed out of their own record


def record_of(run: RunDirectory) -> list[tuple[int, dict[str, float]]]:
    """The rows of metrics.csv by step."""
    return [(int(row.pop("step")), row) for row in rows_of(run.metrics_file)]


def test_a_run_that_nobody_tracked_is_replayed_whole_and_once(
    tmp_path: Path, convarium: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = made_run(tmp_path / "run", images=60)
    run.page.write_text("<!doctype html><p>page</p>")
    said = convarium("sync", run.path, "mode=offline")
    [folder] = offline_folders(run.path)
    number = folder.name.rpartition("-")[2]
    assert said.out == f"{run.path}: written for a later upload as {number}\n"
    assert convarium("sync", run.path, "mode=offline").out == f"{run.path}: is there already, as {number}\n"
    assert offline_folders(run.path) == [folder]
    records = inspect(folder)
    rows = [(step, row) for step, row in history_of_numbers(records) if row]
    assert numbers(rows) == numbers(record_of(run))
    assert [step for step, _ in rows] == sorted(step for step, _ in rows)
    summary = {key: value for record in records["summary"] for key, value in record.get("update", {}).items()}
    result = run.result()
    assert {name: summary[name] for name in result["metrics"]} == result["metrics"]
    [table] = folder.glob("files/media/table/mistakes*.json")
    rows_of_mistakes = json.loads(table.read_text())["data"]
    assert len(rows_of_mistakes) == round((1 - result["metrics"]["test/acc1"]) * 60)
    assert [record["type"] for record in records["artifact"] if record["type"] != "run_table"] == ["report"]
    run.page.write_text("<!doctype html><p>another page</p>")
    assert "upload as " + number in convarium("sync", run.path, "mode=offline").out


def history_of_numbers(records: dict[str, list[dict[str, Any]]]) -> list[tuple[int, dict[str, Any]]]:
    """The logged rows that hold numbers alone: no table, no picture."""
    plain = [r for r in records["history"] if all(isinstance(value, int | float) for value in r["item"].values())]
    return history({"history": plain})


def test_a_run_that_the_server_has_is_sent_what_is_missing_there(
    server: Server, tmp_path: Path, convarium: Any
) -> None:
    run = made_run(tmp_path / "run")
    (run.path / "wandb" / "run-20260101_000000-my-run").mkdir(parents=True)  # its own tracker's
    assert convarium("sync", run.path).code == 0
    first = [json.loads(line)[STEP] for line in server.lines["wandb-history.jsonl"]]
    assert first == [step for step, _ in record_of(run)]
    number = "my-run"
    assert convarium("sync", run.path).out == f"{run.path}: is there already, as {number}\n"
    (run.path / ".sync.json").unlink()  # as if its own tracker had sent these rows, or a sync that was killed
    with run.metrics_file.open("a") as file:
        file.write("64,3,0.001,0.2,0.2,0.6,0.2,0.6,512\n")
    tail = json.dumps([json.dumps({"_step": len(first) - 1, "_runtime": 3, STEP: first[-1]})])
    counts = {"historyLineCount": len(first), "eventsLineCount": 0, "logLineCount": 0}
    summary = json.dumps({STEP: first[-1]})
    texts = {"historyTail": tail, "eventsTail": "[]", "summaryMetrics": summary, "config": "{}"}
    texts["wandbConfig"] = '{"t": 1}'
    server.bucket = {"id": "B", "name": number, "displayName": "n", "tags": [], **counts, **texts}
    server.lines.clear()
    assert convarium("sync", run.path).out == f"{run.path}: synced as {number}\n"
    assert [json.loads(line)[STEP] for line in server.lines["wandb-history.jsonl"]] == [64]


def test_a_run_is_found_by_its_record_wherever_its_tracker_wrote_and_is_not_whole_without_its_page(
    tmp_path: Path, convarium: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    run = experiment("logger=wandb", "logger.wandb.mode=offline", folder=str(tmp_path / "run"))
    [folder] = offline_folders(tmp_path)
    number = folder.name.rpartition("-")[2]
    assert run.result()["trackers"] == {"wandb": number}
    run.page.write_text("<!doctype html>")
    capsys.readouterr()

    def broken(tracker: Wandb, file: Path) -> None:
        raise OSError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(Wandb, "write_page", broken)
        answer = convarium("sync", run.path, "mode=offline")
    assert (answer.code, answer.out) == (
        1,
        f"{run.path}: was not sent whole (page); the same command goes on with it\n",
    )
    assert convarium("sync", run.path, "mode=offline").out == f"{run.path}: written for a later upload as {number}\n"


@pytest.mark.slow
def test_a_sync_that_is_killed_and_repeated_sends_each_row_once(server: Server, tmp_path: Path) -> None:
    run = made_run(tmp_path / "run")
    command = [str(Path(sys.executable).with_name("convarium")), "sync", str(run.path)]
    sent: list[dict[str, Any]] = []
    for attempt in range(4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            if attempt < 2 and server.lines.get("wandb-history.jsonl"):
                process.kill()
            time.sleep(0.02)
        time.sleep(1.0)  # its service ends with it, and may still send
        sent += [json.loads(line) for line in server.lines.pop("wandb-history.jsonl", [])]
        counts = {"historyLineCount": len(sent), "eventsLineCount": 0, "logLineCount": 0}
        texts = {"historyTail": json.dumps([json.dumps(sent[-1])]), "eventsTail": "[]", "config": "{}"}
        summary = json.dumps({STEP: sent[-1][STEP]})
        own = {"id": "B", "name": "n", "displayName": "n", "tags": [], "wandbConfig": '{"t": 1}'}
        server.bucket = {**own, **counts, **texts, "summaryMetrics": summary}
    steps = [row[STEP] for row in sent if any(isinstance(row.get(name), float) for name in ("train/loss", "lr"))]
    assert steps == [step for step, _ in record_of(run)]


def test_without_a_key_or_for_a_run_at_work_nothing_is_sent(tmp_path: Path, convarium: Any) -> None:
    run = made_run(tmp_path / "run")
    answer = convarium("sync", run.path)
    assert answer.code == 2
    assert answer.err.startswith("error: no API key: set WANDB_API_KEY or run `wandb login`; mode=offline writes files")
    with run.locked():
        answer = convarium("sync", run.path, "mode=offline")
    assert (answer.code, answer.out) == (1, f"{run.path}: is running; once it has ended it can be synced\n")
