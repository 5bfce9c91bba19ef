"""Pages in a real browser: its console, keyboard, light and dark, and what axe finds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from anatomy.test_diagram import image_of, layers_of
from browser import PAPER, Browser, browser
from convarium.anatomy.diagram.draw import draw
from convarium.anatomy.gallery import gallery
from convarium.commands.gallery import _entry
from convarium.config.catalog import architectures

__all__ = ["browser"]  # a fixture
pytestmark = pytest.mark.slow
OPEN = "document.querySelectorAll('details[open]').length"
TO_CLOSED = "document.querySelector('details:not([open]) > summary')?.focus()"
OPEN_ALL = "document.querySelectorAll('details').forEach(one => (one.open = true))"


def check(browser: Browser, path: Path, *more: Any, opens: int = 1) -> list[list[Any]]:
    steps = (PAPER, OPEN, TO_CLOSED, {"press": "Enter"}, OPEN, OPEN_ALL, {"axe": True}, *more)
    views = [browser.visit(path, *steps, scheme=scheme) for scheme in ("light", "dark")]
    assert views[0][0] != views[1][0]
    for _, before, _, _, after, _, serious, *_ in views:
        assert after - before == opens
        assert serious == []
    return [view[7:] for view in views]


@pytest.mark.parametrize("name", ["inception_v1", "efficientnet_b0"])
def test_a_diagram_opens_by_keyboard_and_has_no_fault(browser: Browser, name: str, tmp_path: Path) -> None:
    path = tmp_path / "diagram.html"
    draw(layers_of(name), image_of(name), path, kind="html", title=name, explain=True)
    check(browser, path)


def test_the_table_of_a_network_has_no_fault(browser: Browser, convarium: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "table.html"
    path.write_text(convarium("anatomy", "arch=inception_v1", "format=html").out, encoding="utf-8")
    check(browser, path, opens=0)


def test_the_gallery_is_searched_and_has_no_fault(browser: Browser, tmp_path: Path) -> None:
    path, stated = tmp_path / "gallery.html", architectures()
    names = ("lenet5", "mlp", "mlp_500_150", "inception_v1", "resnet20", "resnet32")
    path.write_text(gallery([_entry(name, stated[name]) for name in names]), encoding="utf-8")
    search = ("document.querySelector('#find').focus()", {"type": "resnet32"})
    shown = "document.querySelectorAll('article:not([hidden])').length"
    assert [view[-1] for view in check(browser, path, *search, shown)] == [1, 1]
