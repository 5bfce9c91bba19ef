"""A real browser for pages: one start serves all visits of a module. Where there is none, the tests are skipped."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "browser.js"
PAPER = "getComputedStyle(document.body).backgroundColor"


class Browser:
    """Chromium, told by node what to do."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.process = process

    def visit(self, page: Path | str, *steps: Any, scheme: str = "light", width: int = 1240) -> list[Any]:
        """What each step came to (`browser.js`) on the page of a file or address; no error on the console, no request
        beside the page and to its server."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        address = page if isinstance(page, str) else page.absolute().as_uri()
        asked = {"address": address, "scheme": scheme, "width": width, "steps": steps}
        self.process.stdin.write(json.dumps(asked) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        assert line, "the browser has ended"
        seen = json.loads(line)
        assert seen["errors"] == []
        answers: list[Any] = seen["answers"]
        return answers


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser; skips where node, its packages or Chromium are not."""
    node, npm = shutil.which("node"), shutil.which("npm")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not node or not npm or not chromium:
        pytest.skip("node, npm and Chromium are needed")
    environment = dict(os.environ)
    if "NODE_PATH" not in environment:
        root = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=True).stdout.strip()
        environment["NODE_PATH"] = root
    has = "require.resolve('puppeteer-core'); require.resolve('axe-core')"
    if subprocess.run([node, "-e", has], env=environment, capture_output=True).returncode:
        pytest.skip("puppeteer-core and axe-core are needed: npm install -g puppeteer-core axe-core")
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([node, str(SCRIPT), chromium], env=environment, **pipes) as process:
        yield Browser(process)
        assert process.stdin is not None
        process.stdin.close()
        process.wait(20)
