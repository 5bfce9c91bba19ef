"""Pages in a real browser: its console, keyboard, light and dark, and what axe finds.

They need node with puppeteer-core and axe-core (NODE_PATH, or installed globally) and Chromium.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anatomy.test_diagram import image_of, layers_of
from convarium.anatomy.diagram.draw import draw
from convarium.anatomy.gallery import gallery
from convarium.commands.gallery import _entry
from convarium.config.catalog import architectures

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parent / "browser.js"


def seen(path: Path) -> list[dict[str, Any]]:
    """What the browser sees in light and dark; skips where there is no browser."""
    node, npm = shutil.which("node"), shutil.which("npm")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not node or not npm or not chromium:
        pytest.skip("node, npm and Chromium are needed")
    root = subprocess.run([npm, "root", "-g"], capture_output=True, text=True, check=True).stdout.strip()
    environment = {**os.environ, "NODE_PATH": os.environ.get("NODE_PATH", root)}
    has = "require.resolve('puppeteer-core'); require.resolve('axe-core')"
    if subprocess.run([node, "-e", has], env=environment, capture_output=True).returncode:
        pytest.skip("puppeteer-core and axe-core are needed: npm install -g puppeteer-core axe-core")
    done = subprocess.run(
        [node, str(SCRIPT), str(path), chromium], env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    answer: list[dict[str, Any]] = json.loads(done.stdout)
    return answer


def check(path: Path, opens: int = 1) -> list[dict[str, Any]]:
    light, dark = views = seen(path)
    assert light["paper"] != dark["paper"]
    for view in views:
        assert view["errors"] == []
        assert view["serious"] == []
        assert view["opened"] == opens
    return views


@pytest.mark.parametrize("name", ["inception_v1", "efficientnet_b0"])
def test_a_diagram_opens_by_keyboard_and_has_no_fault(name: str, tmp_path: Path) -> None:
    path = tmp_path / "diagram.html"
    draw(layers_of(name), image_of(name), path, kind="html", title=name, explain=True)
    check(path)


def test_the_table_of_a_network_has_no_fault(convarium: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "table.html"
    path.write_text(convarium("anatomy", "arch=inception_v1", "format=html").out, encoding="utf-8")
    check(path, opens=0)


def test_the_gallery_is_searched_and_has_no_fault(tmp_path: Path) -> None:
    path, stated = tmp_path / "gallery.html", architectures()
    names = ("lenet5", "mlp", "mlp_500_150", "inception_v1", "resnet20", "resnet32")
    path.write_text(gallery([_entry(name, stated[name]) for name in names]), encoding="utf-8")
    assert [view["shown"] for view in check(path)] == [1, 1]
