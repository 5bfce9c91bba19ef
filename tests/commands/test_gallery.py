"""The gallery's page: what stands on it, and that it is refused a place where there is none."""

import re
from pathlib import Path

import pytest

from anatomy.test_diagram import touching
from convarium.anatomy.gallery import WINNERS, gallery, years
from convarium.commands.gallery import VERB, _entry
from convarium.config.catalog import architectures
from convarium.errors import ConfigError

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def page() -> str:
    stated = architectures()
    return gallery([_entry(name, stated[name]) for name in ("lenet5", "mlp", "mlp_500_150")])


def test_a_network_has_its_counts_its_papers_results_and_ours(page: str) -> None:
    lenet, mlp = re.findall(r"<article.*?</article>", page)[:2]
    assert "61,706" in lenet
    assert "416,520" in lenet
    assert re.search(r"depth</t\w><td[^>]*>5<", lenet)
    assert "0.93 %" in lenet
    assert "Here: MNIST, mean of 3 seeds" in lenet
    assert "3.05 %" in mlp
    assert "Paper: MNIST, trained without distortions." in mlp


def test_only_what_differs_in_more_than_widths_and_repeats_is_open(page: str) -> None:
    assert re.findall(r"<details( open)?><summary>Diagram", page) == [" open", " open", ""]


def test_the_page_fetches_nothing_and_every_link_has_its_place(page: str) -> None:
    assert not re.search(r"https?:| src=| style=", page)
    assert "default-src 'none'" in page
    assert set(re.findall(r'href="#(\w+)"', page)) == set(re.findall(r'id="(lenet5|mlp\w*)"', page))


def test_the_years_can_be_read() -> None:
    assert [fault for fault in touching(years()) if "shape" not in fault] == []  # its line goes through its points
    assert {winner.arch for winner in WINNERS if winner.arch} <= architectures().keys()


def test_measured_errors_are_those_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    measured = {name: one.measured for name, one in architectures().items() if one.measured.top1_error}
    assert measured.keys() >= {"lenet5", "resnet20"}
    for one in measured.values():
        recipe = re.search(r"recipe=\w+", one.protocol or "")
        assert recipe is not None
        [line] = [line for line in readme.splitlines() if recipe[0] in line and line.startswith("|")]
        assert f" {one.top1_error} %" in line


@pytest.mark.parametrize("out", ["nowhere/gallery.html", "gallery.pdf"])
def test_a_place_that_is_none_is_refused(out: str) -> None:
    with pytest.raises(ConfigError, match=f"out={out}: expected a folder"):
        VERB([f"out={out}"])


def test_a_place_that_takes_no_file_is_refused_before_anything_is_drawn() -> None:
    with pytest.raises(ConfigError, match=r"out=/proc/a.html: cannot be written "):
        VERB(["out=/proc/a.html"])


@pytest.mark.slow
def test_the_gallery_has_all_networks_below_three_megabytes_and_the_same_bytes_twice(tmp_path: Path) -> None:
    for name in ("one.html", "two.html"):
        assert VERB([f"out={tmp_path / name}"]) == 0
    text = (tmp_path / "one.html").read_text(encoding="utf-8")
    assert set(re.findall(r'<article id="(\w+)"', text)) == architectures().keys()
    assert len(text.encode()) < 3_000_000
    assert text == (tmp_path / "two.html").read_text(encoding="utf-8")
