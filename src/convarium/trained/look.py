"""What the network of a run looks at: its kernels and maps, what its answers rest on, and how little changes them."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import torch
from torch import Tensor

from convarium.anatomy import feature_maps as fm
from convarium.anatomy.attribution import corners, grad_cam, nudge, occlusion, saliency
from convarium.drawing import STYLE, save_png
from convarium.errors import ConfigError
from convarium.files import appearing, writing
from convarium.observe.charts import percent
from convarium.observe.contact_sheet import legible, legible_end
from convarium.observe.look_sheet import PER_INCH, SIDE, Legend, Picture, heat_strip, heated, scaled, sheet, signed
from convarium.progress_bar import Progress
from convarium.run.directory import RunDirectory
from convarium.trained.predict import Guess, probabilities
from convarium.trained.subjects import Subject, Subjects
from convarium.wording import counted, nearest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

T = TypeVar("T")

DPI = 150
ON_A_SHEET = 6  # images; more of them are on further sheets
MOST_KERNELS, MOST_MAPS, MOST_FILTERS, MOST_IMAGES = 96, 8, 8, 7
PATCHES = 4  # on a side, of those that hide a part of the image; their step is a quarter of one
STEADY = 5e-4  # of a probability: a change that is below what is printed
FEWEST = 4  # positions on a side of a map; of fewer the sheet says that they tell little
SMALL, SMALLEST = 128 / PER_INCH, 72 / PER_INCH  # inches, of pictures of which there are many

FLAT = ("kernels", "saliency", "occlusion", "nudge")
MAPPED = ("kernels", "maps", "gradcam", "occlusion", "nudge")
"""What "all" is: of a network without maps, and of others."""


class Looked(NamedTuple):
    """What `look` found and drew."""

    layers: list[fm.MapLayer]
    subjects: list[Subject]
    files: list[Path]
    notes: list[str]  # what there is nothing to show of
    bad: dict[Path, str]  # files that cannot be read, and why


def look(
    run: RunDirectory,
    images: Iterable[Path] = (),
    *,
    what: str = "all",
    of: str = "classes",
    layer: str | None = None,
    filters: str | None = None,
    patch: int | None = None,
    weights: str = "final",
    split: str = "val",
    output: Path | None = None,
) -> Looked:
    """Draw what the network of a run looks at into `output` (None: RUN/look), a sheet or more for each kind of picture.

    images: files, decoded, sized and normalized as in training, or folders of them; none: six of the split.
    what: one of `VIEWS`. of: "classes", the first of the split of a class each, or "mistakes", the worst.
    layer: names with commas between them, of which Grad-CAM and filters take the last; None: the last that has maps,
    and for maps the last of each size.
    filters: numbers with commas between them; None: the first eight.
    patch: side in pixels of what hides a part of the image; None: a quarter of the image's.
    Raises ConfigError for a layer, filter or patch that cannot be, for views of maps where there are none, for a split
    that cannot be read, and where `output` cannot be written.
    """
    images = list(images)
    if images and what in ("kernels", "filters", "layers"):
        raise ConfigError(f"what={what}: is not of images; accepted: none of them")
    if filters and what != "filters":
        raise ConfigError(f"filter={filters}: has no part in what={what}; accepted: what=filters")
    looking = _Look(run, weights=weights, split=split, folder=output or run.path / "look")
    looking.choose(layer, filters, patch)
    kinds: Sequence[str] = (what,)
    if not looking.blocks and what in ("gradcam", "maps", "filters"):
        raise ConfigError(f"what={what}: no layer of this network has maps; accepted: {', '.join(FLAT)}")
    if what in ("all", "layers"):
        kinds = () if what == "layers" else MAPPED if looking.blocks else FLAT
        if not looking.blocks:
            looking.notes.append("no layer of this network has maps: the gradient of the input stands for Grad-CAM")
    with Progress() as looking.progress:
        if set(kinds) - {"kernels", "filters"}:
            looking.read(images, of)
            if images and not looking.subjects:  # there is nothing but errors to be told
                kinds = ()
        for kind in kinds:
            looking.draw(kind)
    return Looked(looking.blocks, looking.subjects, looking.files, looking.notes, looking.bad)


class _Look(Subjects):
    """The sheets."""

    def __init__(self, run: RunDirectory, *, weights: str, split: str, folder: Path) -> None:
        super().__init__(run, weights=weights, split=split)
        self.folder = folder
        self.blocks, self.every = fm.map_layers(self.net, torch.zeros(1, *self.shape, device=self.device))
        self.files: list[Path] = []
        self.notes: list[str] = []

    def choose(self, layer: str | None, filters: str | None, patch: int | None) -> None:
        """What is looked at, where it can be."""
        there, size = {each.name: each for each in self.every}, self.data.image_size
        names = [name.strip() for name in layer.split(",")] if layer else []
        for name in names:
            if name not in there:
                near = nearest(name, there)
                raise ConfigError(f"layer={name}: no layer with maps{near} convarium look RUN what=layers lists them")
        sizes = {(each.height, each.width): each for each in self.blocks}
        self.layers = [there[name] for name in names] or list(sizes.values())
        self.layer = self.layers[-1] if names else next(iter(self.blocks[-1:]), None)
        count = self.layer.channels if self.layer else 0
        numbers = [number.strip() for number in filters.split(",")] if filters else []
        for number in numbers:
            if not number.isdecimal() or int(number) >= count:
                raise ConfigError(f"filter={number}: accepted: 0 to {count - 1}, those of {self.layer}")
        self.filters = list(map(int, numbers)) or list(range(min(count, MOST_FILTERS)))
        if patch is not None and not 1 <= patch <= size:
            raise ConfigError(f"patch={patch}: out of range; accepted: 1 to {size}, the side of the images")
        self.patch = patch or max(1, size // PATCHES)
        self.stride = max(1, self.patch // PATCHES)

    # the sheets

    def draw(self, kind: str) -> None:
        """Draw and save the sheets of one kind."""
        if kind in ("kernels", "filters"):
            figures = {kind: figure} if (figure := getattr(self, f"draw_{kind}")()) else {}
        elif kind == "maps":
            figures = _numbered(kind, [self.draw_maps(subject) for subject in self.subjects])
        else:
            title, note, legend = self.words(kind)
            passes = len(corners(*self.shape[1:], self.patch, self.stride)) if kind == "occlusion" else 0
            self.progress.begin((passes or 1) * len(self.subjects), "passes" if passes else "images", kind)
            rows = []
            for subject in self.subjects:
                guess = subject.classes[0]
                said = f"is {legible(subject.truth, 18)}" if subject.truth is not None else ""
                wrong = subject.truth not in (None, guess.name)
                image = Picture(subject.image, _said(guess), said, legible_end(subject.name, 26), wrong)
                rows.append((image, *getattr(self, kind)(subject)))
                if not passes:  # which count themselves
                    self.progress.advance()
            sheets = [[("", row) for row in some] for some in _by(rows, ON_A_SHEET)]
            figures = _numbered(kind, [sheet(title, some, legend, note=note) for some in sheets])
        for name, figure in figures.items():
            self.save(name, figure)

    def words(self, kind: str) -> tuple[str, str, Legend]:
        """The title of a sheet, a line below it, and its legend."""
        heat = heat_strip(0.0)
        if kind == "gradcam":
            assert self.layer is not None
            tells_little = min(self.layer[2:]) < FEWEST
            note = "so few positions tell little of where; layer=... takes another" if tells_little else ""
            return f"Grad-CAM at {self.layer}", note, Legend(heat, "nothing", "", "speaks most for the class")
        if kind == "saliency":
            legend = Legend(heat, "no effect", "", "the pixel that moves the score most")
            return "Saliency: the gradient of the input", "", legend
        if kind == "occlusion":
            title = f"Occlusion: what happens where {self.patch}x{self.patch} pixels are hidden"
            return title, "", Legend(heat_strip(-1.0), "the probability rises", "", "the probability falls")
        title, note = "A nudge: how little changes the answer", "DeepFool in the maximum norm; a lesser change may do"
        each = ", each color by itself" if self.data.channels == 3 else ""
        return title, note, Legend(_strip(self.data.channels), "darker", "as it was", f"brighter{each}")

    def gradcam(self, subject: Subject) -> list[Picture]:
        assert self.layer is not None
        pictures = []
        for guess in subject.classes:
            try:
                cam = grad_cam(self.net, self.inputs(subject), self.layer.name, self.number(guess))[0].cpu()
            except ValueError as error:
                raise ConfigError(str(error)) from error
            said = "" if cam.any() else "nothing speaks for it"
            pictures.append(Picture(heated(subject.image, scaled(cam)), f"for {_said(guess)}", below=said))
        subject.found["gradcam"] = {"layer": self.layer.name}
        return pictures

    def saliency(self, subject: Subject) -> list[Picture]:
        gradients = [saliency(self.net, self.inputs(subject), self.number(guess))[0].cpu() for guess in subject.classes]
        return [
            Picture(heated(subject.image, scaled(gradient)), f"for {_said(guess)}")
            for gradient, guess in zip(gradients, subject.classes, strict=True)
        ]

    def number(self, guess: Guess) -> Tensor:
        return torch.tensor([guess.number], device=self.device)

    def occlusion(self, subject: Subject) -> list[Picture]:
        best, image, patch = subject.classes[0], self.inputs(subject), self.patch

        def score(inputs: Tensor) -> Tensor:
            return probabilities(self.net(inputs).cpu())[:, best.number]

        part = occlusion(score, image[0], patch=patch, stride=self.stride, advance=self.progress.advance)
        y, x = part.at
        image[:, :, y : y + patch, x : x + patch] = 0
        [then] = self.guesses(image, 1)
        subject.found["occlusion"] = {
            "patch": patch, "x": x, "y": y, "probability": part.lowest, "then": then._asdict()
        }  # fmt: skip
        size = self.shape[1]
        frame = (x / size, y / size, min(patch, size - x) / size, min(patch, size - y) / size)
        heat, most = scaled(part.falls), f"full color: {100 * _largest(part.falls):.2g} points"
        if _largest(part.falls) < STEADY:
            subject.found["occlusion"] = {"patch": patch, "probability": part.lowest, "then": None}
            return [Picture(heated(subject.image, 0 * heat), f"for {legible(best.name, 13)}", "nothing changes it")]
        falls = "stays at" if percent(part.lowest) == percent(best.probability) else "falls to"
        said, after = f"{legible(best.name, 13)} {falls} {percent(part.lowest)}", self.data.denormalize(image)[0].cpu()
        wrong = then.number != best.number
        return [
            Picture(heated(subject.image, heat), f"for {legible(best.name, 13)}", most),
            Picture(after, _said(then), said, "the patch that matters most", wrong, frame),
        ]

    def nudge(self, subject: Subject) -> list[Picture]:
        pixels = subject.image[None].to(self.device) / 255
        changed = nudge(lambda pixels: self.net(self.of_pixels(pixels)), pixels)
        if changed is None:
            subject.found["nudge"] = None
            return [Picture(subject.image, "none found")]
        change, [then] = 255 * (changed - pixels)[0].cpu(), self.guesses(self.of_pixels(changed), 1)
        levels = _largest(change)
        subject.found["nudge"] = {"levels": levels, "then": then._asdict()}
        return [
            Picture(_pixels(changed), _said(then), f"by {levels:.2g} of 255 levels", is_wrong=True),
            Picture(_shown(change / levels), "the difference", f"{127 / levels:.0f} times as strong"),
        ]

    def draw_maps(self, subject: Subject) -> "Figure":
        found = fm.feature_maps(self.net, self.inputs(subject), [layer.name for layer in self.layers])
        rows = [(legible_end(subject.name, 60), [Picture(subject.image)])]
        for layer in self.layers:
            maps = found[layer.name][0].float().cpu()
            order = maps.abs().mean((1, 2)).argsort(descending=True)[:MOST_MAPS].tolist()
            left_out = f", the {len(order)} strongest" if len(maps) > len(order) else ""
            drawn = zip(order, scaled(maps[order]), strict=True)
            rows.append((f"{layer}{left_out}", [Picture(signed(one), plain=f"#{number}") for number, one in drawn]))
        legend = Legend(_strip(1), "negative", "0", "the strongest of a row")
        return sheet(f"Feature maps of what is seen as {_said(subject.classes[0])}", rows, legend, side=SMALL)

    def draw_kernels(self) -> "Figure | None":
        kernels = fm.first_kernels(self.net, self.shape)
        if kernels is None:
            self.notes.append("kernels: the first layer with weights neither convolves nor sees the image whole")
            return None
        name, weights, are_classes = kernels
        count, channels, *size = weights.shape
        scale, shown = _largest(weights), scaled(weights[:MOST_KERNELS].float().cpu())
        said = [str(number) for number in range(len(shown))]
        if are_classes:
            said = [legible(each, 18) for each in (self.names if count > 1 else self.names[1:])]
        pictures = [Picture(_shown(each), plain=words) for each, words in zip(shown, said, strict=False)]
        side = SIDE if are_classes else SMALL if size[0] > 16 else SMALLEST
        kind = "kernels" if size[0] < self.shape[1] else "weights of the units"
        title = "The weights of the classes" if are_classes else f"The {count} {kind} of {name}"
        notes = [f"the first {len(shown)}"] if count > len(shown) else []
        notes += [f"the mean of {channels} channels"] if channels not in (1, 3) else []
        rows = [("", some) for some in _by(pictures, 5 if are_classes else round(8 / side))]
        legend = Legend(_strip(channels), f"-{scale:.2g}", "0", f"{scale:.2g}")
        return sheet(f"{title}, {'x'.join(map(str, size))}", rows, legend, side=side, note="; ".join(notes))

    def draw_filters(self) -> "Figure":
        assert self.layer is not None
        batches = self.batches()
        source, height, width = batches.source, *self.layer[2:]
        peaks = fm.strongest(self.net, self.layer.name, self.filters, self.normalized(batches), most=MOST_IMAGES)
        self.progress.begin(fm.STEPS, "steps", "ascent")
        advance = self.progress.advance
        made = fm.exciting_inputs(self.net, self.of_pixels, self.layer.name, self.filters, self.shape, advance=advance)
        rows = []
        for row, number in enumerate(self.filters):
            pictures = [Picture(_pixels(made[row : row + 1]), plain="by ascent")]
            images = {int(sample): image.cpu() for image, sample in zip(*source.fetch(peaks.samples[row]), strict=True)}
            for value, sample, at in zip(*(column[row].tolist() for column in peaks), strict=True):
                y, x = divmod(at, width)
                said = f"{legible(self.names[int(source.targets[sample])], 10)}: {value:.3g}"
                frame = (x / width, y / height, 1 / width, 1 / height)
                pictures.append(Picture(images[sample], plain=said, frame=frame))
            rows.append((f"filter {number}", pictures))
        images_of = counted(len(batches.members), f"{self.split} image")
        note = f"an input made by gradient ascent, and the strongest of {images_of}; framed: where its map is largest"
        return sheet(f"What excites the filters of {self.layer}", rows, None, side=SMALL, note=note)

    def save(self, name: str, figure: "Figure") -> None:
        import matplotlib

        path, style = self.folder / f"{name}.png", matplotlib.rc_context(STYLE)  # type: ignore[arg-type]
        with writing(f"out={self.folder}"), style, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a class name in a script that the font lacks
            self.folder.mkdir(parents=True, exist_ok=True)
            with appearing(path) as temporary:
                save_png(figure, temporary, DPI)
        self.files.append(path)


def _by(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """In rows of `size`, the last of which may be shorter."""
    return [items[first : first + size] for first in range(0, len(items), size)]


def _numbered(kind: str, figures: Sequence["Figure"]) -> "dict[str, Figure]":
    return {kind if len(figures) == 1 else f"{kind}_{number}": each for number, each in enumerate(figures, start=1)}


def _said(guess: Guess) -> str:
    return f"{legible(guess.name, 13)} ({percent(guess.probability)})"


def _largest(values: Tensor) -> float:
    return float(values.abs().max())


def _pixels(image: Tensor) -> Tensor:
    """(1, C, H, W) in 0..1 as uint8 (C, H, W)."""
    return (255 * image[0]).round().to(torch.uint8).cpu()


def _shown(values: Tensor) -> Tensor:
    """Numbers (C, h, w) in -1..1 as uint8 (3, h, w): of three channels as colors around grey, else the channels' mean
    in red and blue."""
    return (127.5 * (values + 1)).round().to(torch.uint8) if len(values) == 3 else signed(values.mean(0))


def _strip(channels: int) -> Tensor:
    """The colors of `_shown`, from -1 to 1."""
    return _shown(torch.linspace(-1, 1, 256).expand(channels, 1, -1))
