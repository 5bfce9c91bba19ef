"""The gallery: all networks on one page, with what their papers and we measured, and the years of ImageNet."""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import groupby
from typing import NamedTuple

from convarium.anatomy.diagram.draw import scene
from convarium.anatomy.diagram.layout import legend
from convarium.anatomy.diagram.reasons import reason
from convarium.anatomy.diagram.scene import QUIET, Scene, Shape
from convarium.anatomy.diagram.structure import parts
from convarium.anatomy.diagram.svg import svg
from convarium.anatomy.palette import look
from convarium.anatomy.trace import Layer
from convarium.page import page, table


class Entry(NamedTuple):
    """A network of the page."""

    name: str  # arch=NAME
    title: str
    paper: str  # under which it stands
    where: str  # in the paper
    figures: list[list[str]]  # rows of what, here, in the paper
    protocol: str  # how the errors were measured
    layers: tuple[Layer, ...]
    image: tuple[int, int, int]


class Winner(NamedTuple):
    """The winner of a year of the ImageNet challenge (ILSVRC), classification: top-5 error in % on the test set."""

    year: int
    error: float
    name: str
    arch: str = ""  # ours of it, if there is one


WINNERS = (
    Winner(2010, 28.2, "NEC-UIUC"),
    Winner(2011, 25.8, "XRCE"),
    Winner(2012, 15.3, "AlexNet", "alexnet"),
    Winner(2013, 11.7, "Clarifai"),
    Winner(2014, 6.67, "GoogLeNet", "inception_v1"),
    Winner(2015, 3.57, "ResNet-152", "resnet152"),
    Winner(2016, 2.99, "Trimps-Soushen"),
    Winner(2017, 2.25, "SENet"),
)
SOURCE = (
    "Top-5 errors in % on the test set, of the ensembles that were handed in; 2012 with additional training images. "
    "Until 2014 from Russakovsky et al. 2015 and the papers, 2015 from He et al. 2015, then from the results on "
    "image-net.org. One trained annotator: about 5.1 %, on 1,500 images (Russakovsky et al. 2015)."
)
ANNOTATOR = 5.1
STYLE = """
nav ul{list-style:none;padding:0;columns:3 300px}nav li{break-inside:avoid;margin-bottom:6px}
article{border-top:1px solid var(--line);padding:8px 0 16px}article[hidden],section[hidden]{display:none}
input{font:inherit;color:var(--ink);background:var(--paper);border:1px solid var(--quiet);padding:4px 8px}
code{font-size:13px}.bars{display:block;margin:4px 0}
"""
SCRIPT = """
const find=document.getElementById('find'),count=document.getElementById('count');
const all=[...document.querySelectorAll('article')];
document.getElementById('search').hidden=false;
find.addEventListener('input',()=>{const words=find.value.toLowerCase().split(/\\s+/);let shown=0;
for(const one of all){one.hidden=!words.every(word=>one.dataset.words.includes(word));shown+=!one.hidden}
for(const of of document.querySelectorAll('section.paper'))of.hidden=!of.querySelector('article:not([hidden])');
count.textContent=shown+' of '+all.length});
"""
BAR = 420.0  # pixels


def gallery(entries: Sequence[Entry]) -> str:
    """The page, in one file that fetches nothing; entries of one paper stand together."""
    papers = [(paper, list(of)) for paper, of in groupby(entries, lambda entry: entry.paper)]
    listed = "".join(f"<li>{escape(paper)}: {', '.join(map(_link, of))}</li>" for paper, of in papers)
    every = [part for entry in entries for part in parts(entry.layers, exact=False)]
    chart = svg(years(), "top-5 error of each year", alone=False)
    key = svg(legend(every, 1100), "what colors, shapes and sizes mean", alone=False)
    body = (
        f"<h1>The gallery: {len(entries)} networks</h1>"
        "<p>Each at the size of its paper, drawn and counted from the network itself; how an error was measured stands "
        "below it. Depth counts the layers with weights on the longest path; no count has auxiliary classifiers.</p>"
        '<p id="search" hidden><label for="find">Find a network: </label><input id="find" type="search"> '
        f'<span id="count" role="status">{len(entries)} of {len(entries)}</span></p>'
        f'<nav aria-label="networks"><ul>{listed}</ul></nav>'
        f"<section><h2>The years of ImageNet</h2>{chart}{_years_table()}<p>{escape(SOURCE)}</p></section>"
        f"<section><h2>Legend</h2>{key}</section>" + "".join(_paper(paper, of) for paper, of in papers)
    )
    return page("Convarium: the gallery", body, style=STYLE, scripts=[SCRIPT])


def _link(entry: Entry) -> str:
    return f'<a href="#{escape(entry.name)}">{escape(entry.name)}</a>'


def _paper(paper: str, entries: list[Entry]) -> str:
    shown, seen = "", set[tuple[str, ...]]()
    for entry in entries:
        spine = parts(entry.layers, exact=False)
        form = tuple(why.name if (why := reason(part, spine)) else "" for part in spine)
        shown += _article(entry, opened=form not in seen)  # closed where only widths and repeats differ
        seen.add(form)
    return f'<section class="paper"><h2>{escape(paper)}</h2>{shown}</section>'


def _article(entry: Entry, *, opened: bool) -> str:
    words = escape(f"{entry.name} {entry.title} {entry.paper}".lower(), quote=True)
    drawing = svg(scene(entry.layers, entry.image, keyed=False), f"diagram of {entry.title}", alone=False)
    protocol = f"<p>{escape(entry.protocol)}</p>" if entry.protocol else ""
    return (
        f'<article id="{escape(entry.name)}" data-words="{words}"><h3>{escape(entry.title)}</h3>'
        f"<p>{escape(entry.where)} · <code>arch={escape(entry.name)}</code></p>"
        f"{table(['figure', 'here', 'in the paper'], entry.figures, numbers=2)}{protocol}"
        f"{_shares(entry.layers)}<details{' open' if opened else ''}>"
        f"<summary>Diagram</summary>{drawing}</details></article>"
    )


def _shares(layers: Iterable[Layer]) -> str:
    """Where weights and multiply-adds are, as bars and in words."""
    lines = []
    counts = {"weights": [(x.kind, x.parameters) for x in layers], "multiply-adds": [(x.kind, x.macs) for x in layers]}
    for what, of in counts.items():
        shares = dict[str, int]()
        for kind, number in of:
            shares[kind] = shares.get(kind, 0) + number
        total = sum(shares.values())
        bar, x, said = Scene(BAR, 12), 0.0, []
        for kind, number in sorted(shares.items(), key=lambda share: -share[1]):
            if number * 200 >= total > 0:  # half a percent
                wide = BAR * number / total
                bar.marks.append(Shape(((x, 0), (x + wide, 12)), "box", fill=look(kind).fill))
                x += wide
                said.append(f"{look(kind).name} {100 * number / total:.0f} %")
        text = f"{what}: {', '.join(said)}"
        lines.append(f'<div class="bars quiet">{escape(text)}<br>{svg(bar, text, alone=False)}</div>')
    return "".join(lines)


def years() -> Scene:
    """The errors of the winners over the years; those of convolutional networks in their color."""
    left, top, width, height, most = 50.0, 16.0, 840.0, 260.0, 30.0
    out = Scene(left + width + 80, top + height + 40)

    def at(year: float, error: float) -> tuple[float, float]:
        return left + width * (year - 2010) / 7, top + height * (1 - error / most)

    for error in (0, 10, 20):
        y = at(2010, error)[1]
        out.line((left - 6, y), (left + width, y), stroke=QUIET)
        out.text(left - 10, y + 4, f"{error} %", anchor="end")
    human = at(2010, ANNOTATOR)[1]
    out.line((left, human), (left + width, human), dashed=True)
    out.text(left + 4, human + 14, f"one trained annotator, about {ANNOTATOR} %")
    out.line(*(at(winner.year, winner.error) for winner in WINNERS))
    for winner in WINNERS:
        x, y = at(winner.year, winner.error)
        kind = "conv" if winner.year >= 2012 else "other"
        out.marks.append(Shape(((x, y), (x + 5, y)), "circle", fill=look(kind).fill, stroke="#475569"))
        above = y - 6 if y < human else human - 6
        out.text(x + 7, above, f"{winner.name} {winner.error:g}", size=10)
        out.text(x, top + height + 20, str(winner.year), anchor="middle")
    return out


def _years_table() -> str:
    rows = [[str(winner.year), winner.name, f"{winner.error:g}"] for winner in WINNERS]
    figures = table(["year", "winner", "top-5 error"], rows, numbers=1)
    return f"<details><summary>The same as a table</summary>{figures}</details>"
