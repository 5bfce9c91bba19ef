"""The page of a sweep in a real browser: drawn, sorted, filtered and brushed by keyboard, without a fault."""

import random
from pathlib import Path

import pytest

from browser import PAPER, Browser, browser
from convarium.report.sweep_page import write_sweep_page
from made_sweeps import add_job, made_sweep

__all__ = ["browser"]  # a fixture
EVIL = "<img src=x onerror=alert(1)>"
DRAW = "['curves', 'effects', 'parallel', 'scatter'].forEach(draw)"
CELLS = "[...document.querySelectorAll('#runs tbody tr')].map(row => row.cells[2].textContent)"
ROWS = "document.querySelectorAll('#runs tbody tr').length"
WIDE = "document.documentElement.scrollWidth"
BRUSHED = "document.querySelectorAll('#parallel tbody tr').length"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two norms, one of which is no good name, three rates and two seeds, one run without a number, one that failed."""
    sweep, noise = (
        made_sweep(tmp_path_factory.mktemp("sweeps") / "s", ["norm", "optimizer.lr", "seed"]),
        random.Random(0),
    )
    for norm in ("none", EVIL):
        for lr in (0.001, 0.01, 0.1):
            for seed in (1, 2):
                curve = [0.3 + 0.1 * epoch + noise.random() / 10 + lr for epoch in range(5)]
                add_job(sweep, {"norm": norm, "optimizer.lr": lr, "seed": seed}, curve, name=f"{norm[1:4]}-{lr}-{seed}")
    add_job(sweep, {"norm": "猫" * 40, "optimizer.lr": None, "seed": 1}, [float("nan")], name="nan")
    add_job(sweep, {"norm": "none", "optimizer.lr": 9.0, "seed": 1}, status="failed", name="bad", error=EVIL, log=EVIL)
    return write_sweep_page([sweep.path])


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_has_no_fault(browser: Browser, page: Path, scheme: str) -> None:
    opened = "document.querySelectorAll('details').forEach(one => (one.open = true))"
    paper, _, _, serious, images = browser.visit(
        page, PAPER, DRAW, opened, {"axe": True}, "document.images.length", scheme=scheme
    )
    assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(17, 24, 39)"}[scheme]
    assert serious == []
    assert images == 0


def test_it_is_sorted_and_filtered(browser: Browser, page: Path) -> None:
    sort = "document.querySelector('[data-focus=\"sort optimizer.lr\"]').focus()"
    filtered = ("document.querySelector('#filter').focus()", {"type": "norm=none lr<0.05"})
    lr = CELLS.replace("[2]", "[1]")
    steps = (sort, {"press": "Enter"}, lr, {"press": "Enter"}, lr, *filtered, ROWS, DRAW)
    answers = browser.visit(page, *steps, "document.querySelectorAll('#curves .legend li').length")
    assert answers[2] == ["0.001", "0.001", "0.01", "0.01", "0.1", "0.1", "9.0", "null"]
    assert answers[4][:3] == ["null", "9.0", "0.1"]
    assert answers[-3] == 2
    assert answers[-1] == 2  # lines of the curves


def test_lines_are_brushed_by_keyboard(browser: Browser, page: Path) -> None:
    handle = "document.querySelector('[data-focus=\"brush best/val/acc1 0\"]').focus()"
    steps = (DRAW, BRUSHED, handle, {"press": "ArrowUp", "times": 12}, BRUSHED, {"press": "Escape"}, BRUSHED)
    _, before, _, _, after, _, cleared = browser.visit(page, *steps)
    assert before == cleared == 8
    assert 0 < after < before


def test_arrow_keys_say_what_they_reach(browser: Browser, page: Path) -> None:
    at = "document.querySelector('#curves [data-focus=chart]').focus()"
    said = "document.querySelector('#curves .readout').textContent"
    answers = browser.visit(page, DRAW, at, said, {"press": "Home"}, said)
    assert answers[2].startswith("epoch 5: norm=")
    assert answers[4].startswith("epoch 1: norm=")


def test_long_values_of_an_axis_are_cut_where_they_are_alike(browser: Browser, tmp_path: Path) -> None:
    sweep = made_sweep(tmp_path / "s", ["arch.pattern"])
    for times in ("2", "3", "2 -> RELU -> BN -> CONV5x5-64 -> RELU"):
        pattern = f"INPUT -> [(CONV3x3-16 -> RELU)*{times} -> POOL]*2 -> FC64 -> RELU -> FC"
        add_job(sweep, {"arch.pattern": pattern}, [0.5, 0.6], name=times[:9].replace(" -> ", "-"))
    legend, ticks = (
        f"[...document.querySelectorAll('{place}')].map(one => one.textContent).filter(text => /…/.test(text))"
        for place in ("#curves .legend li", "#parallel .tick")
    )
    _, names, shown = browser.visit(write_sweep_page([sweep.path]), DRAW, legend, ticks)
    assert sorted(names) == ["…2 -> RELU -> BN -> CONV5x5-64 -> RELU…", "…2…", "…3…"]
    assert sorted(shown) == ["…2 -> … RELU…", "…2…", "…3…"]


def test_it_fits_a_telephone(browser: Browser, page: Path) -> None:
    assert browser.visit(page, DRAW, WIDE, width=390)[1] == 390


def test_it_draws_what_is_odd(browser: Browser, tmp_path: Path) -> None:
    one = made_sweep(tmp_path / "one", ["k"])
    add_job(one, {"k": [1, 2]}, [0.5])
    failed = made_sweep(tmp_path / "failed", ["k"])
    add_job(failed, {"k": 1}, status="failed", error="RuntimeError")
    for paths in ([one.path], [failed.path], [made_sweep(tmp_path / "none", ["k"]).path], [one.path, failed.path]):
        path = write_sweep_page(paths, tmp_path / "page.html")
        assert browser.visit(path, DRAW, {"axe": True})[1] == []
