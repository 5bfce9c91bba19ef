"""The pages of a folder on the loopback interface, live. No torch here.

It answers GET and HEAD of these alone, below the folder that it was given:

FOLDER/             the page of a sweep, of runs, or an index of sweeps
FOLDER/data.json    what that page asks for every second
RUN/report.html     the page that a run has left, which may not ask the board for anything
"""

import errno
import os
import socketserver
import sys
import threading
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote

from convarium.errors import ConfigError, RunError
from convarium.files import read_regular
from convarium.page import page
from convarium.report.assets import read, render, scripts
from convarium.report.sweep_page import PAGE, sweep_html
from convarium.report.watched import Seen, Watched, is_below
from convarium.wording import one_line, typed_line

ADDRESS = "127.0.0.1"
HTML, JSON, TEXT = "text/html", "application/json", "text/plain"
SEALED = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
)
"""Of a page that a run has left: it may come from somebody else."""
HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Board(ThreadingHTTPServer):
    """A server of one folder. port 0: a free one, which `address` names. Raises ConfigError if the port is taken."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = Path(os.path.realpath(folder))
        self._watched: dict[Path, Watched] = {}
        self._lock = threading.Lock()
        try:
            super().__init__((ADDRESS, port), Answer)
        except OSError as error:
            why = "in use" if error.errno == errno.EADDRINUSE else error.strerror
            raise ConfigError(f"port={port}: {why}; port=auto takes a free one") from error

    def server_bind(self) -> None:
        """Bind without the look-up of the machine's name, which may take long."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, self.server_address[1]

    @property
    def address(self) -> str:
        """What a browser opens."""
        return f"http://{ADDRESS}:{self.server_port}/"

    def look(self, folder: Path) -> Seen:
        """The page of a folder, as it is now."""
        with self._lock:
            watched = self._watched.setdefault(folder, Watched(folder, self.folder))
        return watched.look()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say what went wrong; a browser that has gone away is nothing to speak of."""
        error = sys.exception()
        if not isinstance(error, ConnectionError | TimeoutError):
            with suppress(OSError):
                print(f"board: {typed_line(error)}" if error else "board", file=sys.stderr, flush=True)


class Answer(BaseHTTPRequestHandler):
    """The answers to one browser."""

    server: Board
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "convarium", ""
    timeout = 60

    def do_GET(self) -> None:
        """Answer; see the head of this file."""
        hosts = self.headers.get_all("Host") or []
        if hosts not in ([f"{name}:{self.server.server_port}"] for name in (ADDRESS, "localhost")):
            self._send(HTTPStatus.MISDIRECTED_REQUEST, TEXT, b"this server answers to 127.0.0.1 and localhost only\n")
            return
        target, _, query = self.path.partition("?")
        try:
            self._answer(target, query)
        except (RunError, FileNotFoundError, NotADirectoryError):
            self._send(HTTPStatus.NOT_FOUND, TEXT, b"there is nothing here\n")
        except ConnectionError:
            raise
        except Exception as error:
            self._send(HTTPStatus.INTERNAL_SERVER_ERROR, TEXT, f"{one_line(typed_line(error))}\n".encode())

    do_HEAD = do_GET

    def _answer(self, target: str, query: str) -> None:
        if target == "/favicon.ico":
            self._send(HTTPStatus.NO_CONTENT, TEXT, b"")
            return
        folder, name = self._place(target)
        if name == PAGE:
            if not (folder / "config.yaml").is_file():
                raise FileNotFoundError(folder)
            file = folder / PAGE
            if not is_below(file, self.server.folder):
                raise FileNotFoundError(file)
            self._send(HTTPStatus.OK, HTML, read_regular(file), policy=SEALED)
            return
        seen = self.server.look(folder)
        if name:
            self._send_changes(seen, query)
        elif seen.is_index:
            style = read("styles/report.css") + read("styles/live.css")
            body = render("index", title=folder.name)
            made = page(
                folder.name,
                body,
                style=style,
                scripts=scripts(("draw", "live")),
                data={"live": seen.live},
                live=True,
            )
            self._send(HTTPStatus.OK, HTML, made.encode())
        else:
            assert seen.data is not None
            self._send(HTTPStatus.OK, HTML, sweep_html(seen.data, live=seen.live).encode())

    def _place(self, target: str) -> tuple[Path, str]:
        """The folder that an address means, and the file: "" for its page. Raises FileNotFoundError for any other."""
        first, *names = target.split("/")
        try:
            names = [unquote(name, errors="strict") for name in names]
        except UnicodeDecodeError as error:
            raise FileNotFoundError(target) from error
        is_odd = any(not name or name[0] == "." or not name.isprintable() or {*name} & {*"/\\"} for name in names[:-1])
        if first or not names or is_odd or names[-1] not in ("", "data.json", PAGE):
            raise FileNotFoundError(target)
        folder = self.server.folder.joinpath(*names[:-1])
        if not folder.is_dir() or not is_below(folder, self.server.folder):
            raise FileNotFoundError(target)
        return folder, names[-1]

    def _send_changes(self, seen: Seen, query: str) -> None:
        tag = seen.tag
        if self.headers.get("If-None-Match") == tag:
            self._send(HTTPStatus.NOT_MODIFIED, JSON, b"", tag=tag)
        else:
            have = parse_qs(query).get("have", [""])[0]
            self._send(HTTPStatus.OK, JSON, seen.changes(have), tag=tag)

    def _send(self, status: HTTPStatus, kind: str, body: bytes, *, policy: str = "", tag: str = "") -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Security-Policy", f"frame-ancestors 'none'{'; ' if policy else ''}{policy}")
        if tag:
            self.send_header("ETag", tag)
        if status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing of each request."""
