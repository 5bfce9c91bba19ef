"""The board: what is there is there at once, and nothing else is given away."""

import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from browser import Browser, browser  # noqa: F401
from conftest import Outcome
from convarium.files import locked
from convarium.report import watched
from convarium.report.board import Board
from convarium.report.watched import Watched
from convarium.results.directory import SweepDirectory
from made_runs import made_run
from made_sweeps import add_job, add_twin, made_sweep


@contextmanager
def served(folder: Path) -> Iterator[Board]:
    """A board of a folder, in this process."""
    with Board(folder, 0) as board:
        thread = threading.Thread(target=board.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield board
        finally:
            board.shutdown()
            thread.join()


def get(board: Board, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """The status, headers and body of an address."""
    connection = http.client.HTTPConnection("127.0.0.1", board.server_port, timeout=10)
    connection.putrequest("GET", path, skip_host="Host" in headers)
    for name, value in headers.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def changes(board: Board, path: str = "/") -> dict[str, Any]:
    status, _, body = get(board, f"{path}data.json")
    assert status == 200
    answer: dict[str, Any] = json.loads(body)
    return answer


@pytest.fixture
def sweeps(tmp_path: Path) -> Path:
    """A folder with a sweep of two finished jobs, one with a page."""
    sweep = made_sweep(tmp_path / "sweeps" / "first", ["norm"])
    add_job(sweep, {"norm": "none"}, [0.25, 0.5])
    add_job(sweep, {"norm": "batch"}, [0.25, 0.75])
    made_run(tmp_path / "sweeps" / "first" / "jobs" / "run").page.write_text("<title>one</title>")
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "report.html").write_text("secret")
    (tmp_path / "secret" / "config.yaml").write_text("{}")
    return tmp_path / "sweeps"


def begin(sweep: SweepDirectory, name: str, seconds: float, **result: Any) -> None:
    """A job that has been running for so long."""
    add_job(sweep, {"norm": name}, status="queued", name=name)
    began = (datetime.now().astimezone() - timedelta(seconds=seconds)).isoformat()
    sweep.append([{**sweep.entry(name, "running"), "time": began}])
    run = sweep.run(name)
    config = {
        "arch": {},
        "data": {},
        "trainer": {"max_epochs": 10},
        "callbacks": {"checkpoint": {"monitor": "val/acc1"}},
    }
    run.config_file.write_text(json.dumps(config))
    heartbeat = datetime.now().astimezone().isoformat(timespec="seconds")
    run.result_file.write_text(json.dumps({"status": "running", "heartbeat": heartbeat, **result}))


# what it shows


def test_a_finished_job_is_there_within_two_seconds_and_until_then_nothing_has_changed(sweeps: Path) -> None:
    with served(sweeps / "first") as board:
        _, headers, body = get(board, "/data.json")
        answer = json.loads(body)
        assert answer["data"]["runs"]["names"] == ["batch", "none"]
        assert get(board, "/data.json", If_None_Match=headers["ETag"])[::2] == (304, b"")
        assert json.loads(get(board, f"/data.json?have={answer['version']}")[2])["data"] is None
        add_job(SweepDirectory(sweeps / "first"), {"norm": "group"}, [1.0])
        began = time.monotonic()
        while (now := changes(board))["version"] == answer["version"]:
            time.sleep(0.1)
        assert time.monotonic() - began < 2
        assert now["data"]["runs"]["names"] == ["group", "batch", "none"]
        assert now["live"]["counts"] == {"ok": 3}
        assert get(board, "/data.json", If_None_Match=headers["ETag"])[0] == 200


def test_jobs_at_work_say_how_far_they_are_and_when_all_is_done(sweeps: Path) -> None:
    sweep = SweepDirectory(sweeps / "first")
    begin(sweep, "layer", 30, steps=25, total_steps=100, epochs=2, metrics={"val/acc1": 0.5})
    begin(sweep, "lrn", 30, heartbeat="2020-01-01T00:00:00+00:00", steps=90, total_steps=100)  # of an attempt before
    add_job(sweep, {"norm": "group"}, status="queued")
    with locked(sweep.lock_file, "this", ""):
        live = json.loads(Watched(sweep.path, sweep.path).look().live_json)
    assert live["counts"] == {"ok": 2, "running": 2, "waiting": 1}
    one, other = live["running"]
    assert (one["job"], one["where"], one["share"], one["monitor"], one["score"]) == (
        "layer",
        "3/10",
        0.25,
        "val/acc1",
        0.5,
    )
    assert one["left"] == pytest.approx(90, abs=3)
    assert (other["where"], other["left"], other["score"]) == ("", None, None)
    assert live["to_go"] == pytest.approx((90 + 90 + 120) / 2, abs=5)
    killed = json.loads(Watched(sweep.path, sweep.path).look().live_json)  # nobody holds the lock
    assert killed["running"] == []
    assert killed["to_go"] is None


def test_a_job_that_is_the_same_network_as_another_waits_for_it_and_takes_no_time(sweeps: Path) -> None:
    sweep = SweepDirectory(sweeps / "first")
    begin(sweep, "layer", 30, steps=25, total_steps=100)
    add_twin(sweep, {"norm": "lrn"}, "layer")
    add_twin(sweep, {"norm": "paper"}, "none")
    with locked(sweep.lock_file, "this", ""):
        live = json.loads(Watched(sweep.path, sweep.path).look().live_json)
    assert live["counts"] == {"ok": 3, "running": 1, "waiting": 1}
    assert live["to_go"] == pytest.approx(90, abs=3)
    assert [one["job"] for one in live["running"]] == ["layer"]


def test_only_files_that_have_changed_are_read_again(sweeps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = list[str]()
    before = watched.read_curves
    monkeypatch.setattr(watched, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(watched, "PAUSE", 0.0)
    monkeypatch.setattr(watched, "read_curves", lambda path: read.append(path.parent.name) or before(path))
    page = Watched(sweeps / "first", sweeps)
    first = page.look()
    assert page.look() is first
    assert sorted(read) == ["batch", "none"]
    add_job(SweepDirectory(sweeps / "first"), {"norm": "group"}, [1.0])
    assert page.look().version != first.version
    assert sorted(read) == ["batch", "group", "none"]


def test_a_folder_of_sweeps_is_an_index_and_a_sweep_that_begins_is_in_it(sweeps: Path, tmp_path: Path) -> None:
    with served(sweeps) as board:
        (one,) = changes(board)["live"]["sweeps"]
        assert (one["name"], one["link"], one["counts"]) == ("first", "first/", {"ok": 2})
        assert changes(board, "/first/")["live"]["up"] == "../"
        made_sweep(sweeps / "a b<i>", ["norm"])
        time.sleep(0.5)
        assert [one["link"] for one in changes(board)["live"]["sweeps"]] == ["a%20b%3Ci%3E/", "first/"]
        assert changes(board, "/a%20b%3Ci%3E/")["data"]["title"] == "a b<i>"
        assert get(board, "/")[0] == 200
    (tmp_path / "empty").mkdir()
    with served(tmp_path / "empty") as board:
        assert changes(board)["live"]["sweeps"] == []
        assert get(board, "/")[0] == 200


def test_loose_runs_are_one_page_with_links_to_theirs(tmp_path: Path) -> None:
    for seed in (1, 2):
        made_run(tmp_path / "day" / f"run{seed}", config={"seed": seed}, words=[]).page.write_text("page")
    with served(tmp_path) as board:
        links = changes(board)["data"]["runs"]["links"]
        assert sorted(links) == ["day/run1/report.html", "day/run2/report.html"]
        assert get(board, f"/{links[0]}")[2] == b"page"


# what it does not give away


def test_the_page_of_a_run_may_not_ask_the_board(sweeps: Path) -> None:
    with served(sweeps / "first") as board:
        status, headers, body = get(board, "/jobs/run/report.html")
        assert (status, body) == (200, b"<title>one</title>")
        assert "sandbox allow-scripts; default-src 'none'" in headers["Content-Security-Policy"]
        assert "connect-src" not in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers
        assert "connect-src 'self'" in get(board, "/")[2].decode()


@pytest.mark.parametrize(
    "path",
    [
        *("/../secret/report.html", "/%2e%2e/secret/report.html", "/..%2fsecret/report.html", "//etc/passwd"),
        *(
            "/first/../../secret/report.html",
            "/first/%2e%2e/%2e%2e/secret/data.json",
            "/linked/report.html",
            "/linked/",
        ),
        *("/first/sweep.yaml", "/first/manifest.jsonl", "/first/jobs/run/config.yaml", "/first/jobs/run", "/nothing/"),
        *(
            "/first/jobs/linked/report.html",
            "/first/jobs/page/report.html",
            "/first/report.html",
            "/first/jobs/none/report.html",
        ),
        *("/first%00/", "/%ff/", "/first\\jobs/", "http://127.0.0.1/first/", "first/", "/.hidden/", "/first/jobs/"),
    ],
)
def test_there_is_no_way_to_any_other_file(sweeps: Path, path: str) -> None:
    (sweeps / "linked").symlink_to(sweeps.parent / "secret")
    (sweeps / "first" / "jobs" / "linked").symlink_to(sweeps.parent / "secret")
    page = made_run(sweeps / "first" / "jobs" / "page").page
    page.symlink_to(sweeps.parent / "secret" / "report.html")
    (sweeps / "first" / "report.html").write_text("not the live page")
    made_sweep(sweeps / ".hidden", ["norm"])
    with served(sweeps) as board:
        status, _, body = get(board, path)
    if path == "/first/jobs/":  # the runs of a sweep without it
        assert (status, b"secret" in body) == (200, False)
    else:
        assert status in (404, 421)  # the second of an address with another host
        assert b"secret" not in body


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "localhost.evil.example:80", ""])
def test_a_name_that_was_bound_to_this_machine_is_refused(sweeps: Path, host: str) -> None:
    with served(sweeps) as board:
        assert get(board, "/", Host=host)[0] == 421
        assert get(board, "/", Host=f"localhost:{board.server_port}")[0] == 200


def test_only_reading_is_answered(sweeps: Path) -> None:
    with served(sweeps) as board, socket.create_connection(("127.0.0.1", board.server_port)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        assert b" 501 " in client.recv(1000)
        assert board.server_address[0] == "127.0.0.1"


# the verb


def test_what_cannot_be_served_is_one_line(
    convarium: Callable[..., Outcome], sweeps: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert (
            convarium("board", sweeps, f"port={port}").err
            == f"error: port={port}: in use; port=auto takes a free one\n"
        )
    for word in ("port=-1", "port=70000", "port=x"):
        ended = convarium("board", sweeps, word)
        assert (ended.code, ended.err) == (2, f"error: {word}: expected 1 to 65535, or auto\n")
    assert "no such folder" in convarium("board", sweeps / "gone").err
    assert convarium("board").code == 2

    def serve(board: Board) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Board, "serve_forever", serve)
    ended = convarium("board", os.path.relpath(sweeps))
    assert ended.code == 130
    assert ended.out.startswith("http://127.0.0.1:")


# in a browser


def until(condition: str) -> str:
    """A step that waits for what an expression says, and gives the time."""
    return (
        "new Promise(done => { const waits = setInterval(() => { "
        f"if ({condition}) {{ clearInterval(waits); done(Date.now() / 1000); }} }}, 20); }})"
    )


READER = """document.querySelector('#runs th:nth-child(3) button').focus();
document.querySelector('#runs details').open = true;
scrollTo(0, 60)"""
PLACE = "[document.activeElement.dataset.focus, document.querySelector('#runs details').open, scrollY]"
NOW = "document.querySelector('#now').innerText"
SPOKEN = "document.querySelector('#now [role=status]').textContent"


def test_a_job_appears_in_an_open_page_which_stays_where_the_reader_was(sweeps: Path, browser: Browser) -> None:  # noqa: F811
    added = list[float]()

    def add() -> None:
        add_job(SweepDirectory(sweeps / "first"), {"norm": "<img src=x onerror=alert(1)>"}, [0.9], name="late")
        added.append(time.time())

    with served(sweeps) as board:
        timer = threading.Timer(1.5, add)
        timer.start()
        appears = until("document.querySelector('#runs tbody').textContent.includes('0.9000')")
        page = f"{board.address}first/"
        _, before, at, after, now, serious = browser.visit(page, READER, PLACE, appears, PLACE, NOW, {"axe": True})
        timer.join()
        index, more = browser.visit(board.address, NOW, {"axe": True})
    assert 0 <= at - added[0] < 6  # 2 where nothing else is at work; here other tests are
    assert before == after
    assert before[0].startswith("sort ")
    assert before[1:] == [True, 60]
    assert "3 ok" in now
    assert "first" in index
    assert serious == more == []


def test_a_board_that_goes_and_comes_back_is_said(sweeps: Path, browser: Browser) -> None:  # noqa: F811
    gone = "window.kept = window.fetch; window.fetch = () => Promise.reject(new TypeError('refused')); 0"
    with served(sweeps) as board:
        steps = (gone, until(f"{SPOKEN}.includes('has gone')"), SPOKEN, "window.fetch = window.kept; 0")
        answers = browser.visit(board.address, *steps, until(f"{SPOKEN}.includes('there again')"), SPOKEN)
    assert answers[2].startswith("The board has gone: what is shown is as it was last.")
    assert answers[-1] == "The board is there again."
