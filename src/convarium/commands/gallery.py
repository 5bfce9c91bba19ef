"""`convarium gallery`: all networks on one page."""

from pathlib import Path
from typing import TYPE_CHECKING

from convarium.commands.words import Option, Verb, Words
from convarium.config.catalog import Architecture, architectures
from convarium.errors import ConfigError
from convarium.files import require_room, write_atomically, writing
from convarium.progress_bar import Progress, doing
from convarium.wording import counted, file_size

if TYPE_CHECKING:
    from convarium.anatomy.gallery import Entry


def run(words: Words) -> None:
    """Write the page, and print where it is and how large."""
    out = Path(words.value("out"))
    path = out / "gallery.html" if out.is_dir() else out
    if path.suffix != ".html" or not path.parent.is_dir():
        raise ConfigError(f"out={out}: expected a folder that exists, or the name of a file in one that ends in .html")
    require_room(f"out={out}", path)
    with doing("load torch"):
        from convarium.anatomy.gallery import gallery

    stated = sorted(architectures().items(), key=lambda item: (item[1].year, item[1].authors, item[1].parameters))
    entries = []
    with Progress() as progress:
        progress.begin(len(stated), "networks")
        for name, architecture in stated:
            entries.append(_entry(name, architecture))
            progress.advance(note=name)
    with doing("draw"), writing(f"out={out}"):
        write_atomically(path, gallery(entries))
    print(f"{path}: {counted(len(entries), 'network')}, {file_size(path.stat().st_size)}")


def _entry(name: str, stated: Architecture) -> "Entry":
    from convarium.anatomy.gallery import Entry
    from convarium.anatomy.table import depth
    from convarium.anatomy.trace import trace
    from convarium.config.compose import Conf
    from convarium.run.preflight import without_values

    size = {"channels": stated.channels, "image_size": stated.image_size, "num_classes": stated.num_classes}
    asked = [f"arch={name}", *(f"data.{key}={value}" for key, value in size.items())]
    net = without_values(Conf().compose(asked, to_train=False).config)
    image = stated.channels, stated.image_size, stated.image_size
    layers = trace(net, image)
    paper, ours = stated.published, stated.measured
    figures = [
        ["weights", f"{stated.parameters:,}", paper.parameters or ""],
        ["multiply-adds", f"{stated.multiply_adds or 0:,}", paper.multiply_adds or ""],
        ["depth", str(depth(layers)), ""],
    ]
    for layer in [layer for layer in layers if layer.window and not layer.is_auxiliary][-1:]:
        rows, columns = layer.field
        figures.append(["receptive field", f"{rows.size}×{columns.size}", ""])
    for what, here, there in (
        ("top-1 error" if paper.top5_error else "error", ours.top1_error, paper.top1_error),
        ("top-5 error", ours.top5_error, paper.top5_error),
    ):
        if here or there:
            figures.append([what, *(f"{error} %" if error else "" for error in (here, there))])
    said = [(f"Paper: {paper.protocol}.", paper.protocol), (f"Here: {ours.protocol}.", ours.protocol)]
    return Entry(
        name=name,
        title=f"{stated.title}, {stated.image_size}×{stated.image_size}×{stated.channels}",
        paper=f"{stated.year} {stated.authors}",
        where=stated.where,
        figures=figures,
        protocol=" ".join(text for text, is_said in said if is_said),
        layers=layers,
        image=image,
    )


VERB = Verb(
    name="gallery",
    meaning="write a page of all networks: drawn, counted, with their papers' results and ours",
    run=run,
    options={"out": Option("the file to write, or a folder for gallery.html", default=".")},
    example="convarium gallery out=docs/gallery.html",
)
