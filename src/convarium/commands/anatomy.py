"""`convarium anatomy arch=...`: what each layer of a network costs and sees; several networks side by side."""

import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from convarium.anatomy.diagram import KINDS as DIAGRAMS
from convarium.commands.words import TRUE_OR_FALSE, Option, Verb, Words, require
from convarium.config.catalog import Architecture, Published, architectures, members
from convarium.config.compose import Conf
from convarium.config.keys import NETWORK, TRAINING, has_part, names_with
from convarium.config.overrides import keys_of, readable
from convarium.errors import ConfigError
from convarium.files import appearing, require_room, writing
from convarium.progress_bar import Progress, doing
from convarium.sizes import takes_small_stem
from convarium.wording import file_size, nearest

if TYPE_CHECKING:
    from torch import nn

    from convarium.anatomy.effective import Effective
    from convarium.anatomy.sheet import Sheet
    from convarium.anatomy.trace import Layer

OF_STEP = ("batch_size", "optimizer", "loss", "decay")  # these matter to the memory of a training step
OF_RESULT = ("optimizer.lr", "optimizer.weight_decay")  # these to no figure that is shown
OF_VALUES = ("weights", "init", "seed")  # these to effective receptive fields
OF_NETWORK = (*(name for name in names_with(NETWORK) if name not in (*OF_STEP, *OF_VALUES)), "dropout", "data")
ACCEPTED = (*OF_NETWORK, *OF_STEP, *OF_VALUES)


class Shown(NamedTuple):
    """A network that is shown, and how it came about."""

    name: str
    config: dict[str, Any]
    stated: Architecture | None
    changed: list[str]  # words by which it differs from its yaml's own: arch.hidden=[50], norm=group
    layers: "tuple[Layer, ...]"
    net: "nn.Module"  # without values
    run: Path | None = None

    @property
    def image(self) -> tuple[int, int, int]:
        data = self.config["data"]
        return int(data["channels"]), int(data["image_size"]), int(data["image_size"])

    @property
    def at(self) -> str:
        return _at(*self.image[:2], int(self.config["data"]["num_classes"]))

    @property
    def as_published(self) -> bool:
        """Whether the paper's numbers are of this network, at this size and with these classes."""
        return self.stated is not None and not self.changed and self.at == _published_at(self.stated)


def run(words: Words) -> None:
    """Print the table of one network, or a row for each of several."""
    folder = VERB.run_folder(words) if words.positions else None
    names, others = _names(words, folder)
    _check_pictures(words)
    with doing("load torch"):
        from convarium.anatomy import effective
        from convarium.anatomy import sheet as formats

    conf = Conf()
    if len(names) == 1:
        with doing("trace the network"):
            shown = [_traced(names[0], others, conf) if folder is None else _of_run(folder)]
        title, sheet = _described(shown[0], words)
    else:
        shown = []
        with Progress() as progress:
            progress.begin(len(names), "networks", "trace")
            for name in names:
                shown.append(_traced(name, others, conf))
                progress.advance(note=name)
        title, sheet = _compared(shown)
    fields, drawn = [], list[Path]()
    if words.value("effective") == "true":
        weights = _weights(shown[0])
        fields = _fields(shown[0])
        title.append(f"receptive fields of units in the middle, weights: {weights}")
        title += [f"  {field.layer}: {', '.join(field.said)}" for field in fields]
        own = f"{Path(shown[0].name).name}-effective.png"  # a name may be that of a file in a folder
        path = Path(words.options.get("figure", own))
        with writing(f"figure={path}"):
            drawn = [effective.draw_effective(fields, shown[0].name, weights, shown[0].image, path)]
    drawn = _draw(shown, title, sheet, words) + drawn
    format = words.value("format")
    if format == "text":
        is_terminal = sys.stdout.isatty()
        width = shutil.get_terminal_size().columns if is_terminal else 200
        print(formats.as_text(title, sheet, width, colored=is_terminal))
    elif format == "csv":
        print(formats.as_csv(sheet))
    elif format == "json":
        answer = {"title": title, "rows": sheet.rows, "total": sheet.total, "notes": sheet.notes}
        if fields:
            answer["effective"] = {
                "weights": weights,
                "fields": [{"layer": f.layer, "theoretical": f.theoretical, "measured": f.size} for f in fields],
            }
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    elif format == "md":
        print(formats.as_markdown(title, sheet))
    else:
        print(formats.as_html(title, sheet, _diagram(shown[0]) if len(shown) == 1 else ""))
    for path in drawn:
        print(path, file=sys.stderr if format != "text" else sys.stdout)


def _names(words: Words, folder: Path | None) -> tuple[list[str], list[str]]:
    """The architectures that the words name, or a run's, and the words that change them. Raises ConfigError for a word
    that names none, or has no part in what is shown."""
    chosen = [word.partition("=")[2] for word in words.overrides if word.startswith("arch=")]
    others = [word for word in words.overrides if not word.startswith("arch=")]
    if folder is not None and words.overrides:
        raise ConfigError(f"{words.overrides[0]}: a run has its network; without a run write arch=NAME")
    if folder is None and not chosen:
        raise VERB.misused("arch: none given")
    known = members("arch")
    names = list(known) if chosen == ["all"] else chosen[-1].split(",") if chosen else [str(folder)]
    for name in names if folder is None else ():
        require(f"arch={name}", name, list(known))
    several, drawn = len(names) > 1, words.value("effective") == "true"
    for option in ("level", "effective", "memory", "diagram", "explain"):
        if several and option in words.options:
            raise ConfigError(f"{option}={words.options[option]}: of one network; here are {len(names)}")
    if "figure" in words.options and not several and not drawn:
        raise ConfigError(f"figure={words.options['figure']}: of several networks, or with effective=true")
    if words.value("explain") == "true" and "diagram" not in words.options:
        raise ConfigError("explain=true: in a diagram; write diagram=NAME.svg beside it")
    has_step = not several and words.value("memory") == "true"
    for key in keys_of(readable(others)):
        group = key.partition(".")[0]
        if group not in ACCEPTED or has_part(key, TRAINING) or key in OF_RESULT:
            raise ConfigError(
                f"{key}: has no part in the anatomy{nearest(key, [*ACCEPTED, *VERB.options])}"
                f" Accepted: {', '.join(ACCEPTED)}"
            )
        if group in OF_STEP and not has_step:
            raise ConfigError(f"{key}: has a part in the memory of one network's training step only")
        if group in OF_VALUES and not drawn:
            raise ConfigError(f"{key}: has a part in effective=true only")
    return names, others


def _check_pictures(words: Words) -> None:
    """Raise ConfigError for a picture that cannot be written."""
    for option, kinds in {"figure": ("png",), "diagram": DIAGRAMS}.items():
        path = Path(words.options.get(option, f"anatomy.{kinds[0]}"))
        if path.suffix.removeprefix(".") not in kinds or path.is_dir():
            raise ConfigError(f"{option}={path}: accepted: a file {', '.join(f'NAME.{kind}' for kind in kinds)}")
        if not path.absolute().parent.is_dir():
            raise ConfigError(f"{option}={path}: no folder {path.parent}")
        if option in words.options or (option == "figure" and words.value("effective") == "true"):
            require_room(f"{option}={path}", path)


def _traced(name: str, others: Sequence[str], conf: Conf) -> Shown:
    """A network composed as for a training, at its published size, channels and classes unless words say otherwise."""
    from convarium.anatomy.trace import trace
    from convarium.run.devices import Placement
    from convarium.run.preflight import check_net, without_values
    from convarium.run.prepare import adapt_to_weights

    words = readable(others)
    with conf.explained(words):
        typed = keys_of(words)
    stated, published = architectures().get(name), []
    if stated is not None and "data" not in typed:
        keys = ("channels", "num_classes", "image_size")
        published = [f"data.{key}={getattr(stated, key)}" for key in keys if f"data.{key}" not in typed]
    composed = adapt_to_weights(conf, conf.compose([f"arch={name}", *words, *published], to_train=False))
    config, net = composed.config, without_values(composed.config)
    changed = _changed(name, config, conf) if others else []
    shown = Shown(name, config, stated, changed, (), net)
    try:
        return shown._replace(layers=trace(net, shown.image))
    except (RuntimeError, ValueError):
        check_net(net, config, Placement("cpu", 1, 1))  # which says what the network does not take
        raise


def _of_run(folder: Path) -> Shown:
    """The network of a run."""
    from convarium.anatomy.trace import trace
    from convarium.run.directory import RunDirectory
    from convarium.run.preflight import without_values
    from convarium.run.resume import read_config

    config = read_config(RunDirectory.open(folder))
    net, name = without_values(config), config["choices"]["arch"]
    stated = architectures().get(name)
    shown = Shown(name, config, stated, _changed(name, config, Conf()) if stated else [], (), net, folder)
    return shown._replace(layers=trace(net, shown.image))


def _changed(name: str, config: dict[str, Any], conf: Conf) -> list[str]:
    """The words by which a network differs from its yaml's own; size, channels, classes and initial values aside."""
    own, arch = conf.compose([f"arch={name}"], to_train=False).config["arch"], config["arch"]
    shape = ("parts", "in_channels", "num_classes", "image_size")
    words = [f"arch.{key}={value}" for key, value in arch.items() if key not in shape and value != own.get(key)]
    for key, value in arch.get("parts", {}).items():
        if key != "init" and value != own["parts"].get(key):
            words.append(f"{key}={config['choices'].get(key, value)}")
    return [word.replace(", ", ",") for word in words]


def _described(shown: Shown, words: Words) -> tuple[list[str], "Sheet"]:
    """What is said of one network above its table, and the table."""
    from convarium.anatomy.table import sheet_of, totals

    level = words.value("level")
    sheet = sheet_of(shown.net, shown.layers, shown.image, level)
    total = totals(shown.layers, shown.image)
    how = [f"of {shown.run}"] if shown.run else ["as published"] if shown.as_published else []
    how += [f"changed: {' '.join(shown.changed)}"] if shown.changed else []
    name = shown.stated.title if shown.stated and shown.as_published else shown.name
    ours = f"ours: {total.parameters:,} parameters, {total.multiply_adds:,} multiply-adds"
    title = [f"{name}: {shown.at} ({'; '.join(how) or 'as the words say'})", ours + _papers(shown)]
    if shown.as_published and shown.stated and shown.stated.misquoted:
        title.append(f"often misquoted: {shown.stated.misquoted}")
    if takes_small_stem(shown.config["arch"].get("stem", "paper"), shown.image[1]):
        stem = shown.config["arch"]["stem"]
        title.append(
            f"not the paper's stem but the small one: arch.stem={stem}{' at up to 64 pixels' * (stem == 'auto')}"
        )
    title.append(
        f"maps of one image: {total.forward_bytes // 4:,} numbers, {total.forward_bytes / 1e6:.2f} MB of single"
        f" precision; kept for the backward pass {total.kept_bytes / 1e6:.2f} MB"
    )
    if words.value("memory") == "true":
        try:
            title += _memory_lines(shown.config)
        except ValueError as error:  # the loss is none for such a network
            title.append(f"training: no memory predicted; loss={shown.config['choices']['loss']}: {error}")
    shown_rows = len(sheet.rows) - 1
    if level != "layers" and shown_rows < len(shown.layers):
        more = f"{shown_rows} rows of {len(shown.layers)} layers; level=layers shows each."
        sheet = sheet._replace(notes=[*sheet.notes, more])
    return title, sheet


def _papers(shown: Shown) -> str:
    """What the paper counts, and of what, where that is not what is shown; empty if it does not say, and where keys of
    the architecture make it another network."""
    stated = shown.stated
    if stated is None or any(word.startswith("arch.") for word in shown.changed):
        return ""
    counts = {"parameters": stated.published.parameters, "multiply-adds": stated.published.multiply_adds}
    said = ", ".join(f"{what} {value}" for what, value in counts.items() if value)
    whose = f"{stated.authors} {stated.year}"
    of = f"({whose})" if shown.as_published else f"{stated.title} ({whose}), at {_published_at(stated)}"
    return f"; the paper's {of}: {said}" if said else ""


def _at(channels: int, size: int, classes: int) -> str:
    return f"{channels}x{size}x{size}, {classes:,} class{'es' * (classes != 1)}"


def _published_at(stated: Architecture) -> str:
    return _at(stated.channels, stated.image_size, stated.num_classes)


def _memory_lines(config: dict[str, Any]) -> list[str]:
    """What a training step takes at most, by precision."""
    import torch

    from convarium.anatomy.memory import training_memory
    from convarium.config.instantiate import build
    from convarium.learn.optimizers import build_optimizer

    arch = dict(config["arch"])
    if "parts" in arch:
        arch["parts"] = {**arch["parts"], "init": None}  # values play no part here
    data, batch = config["data"], int(config["batch_size"])
    size = int(data["image_size"])
    lines = []
    for name, half in (("fp32", None), ("bf16, fp16", torch.bfloat16)):
        with doing(f"predict the memory of a step in {name}"):
            memory = training_memory(
                lambda: build(arch, "arch"),
                (batch, int(data["channels"]), size, size),
                build(config["loss"], "loss"),
                lambda net: build_optimizer(build(config["optimizer"], "optimizer"), net, config["decay"]),
                half,
            )
        parts = {
            "weights": memory.weights,
            "gradients": memory.gradients,
            "optimizer": memory.optimizer,
            "batch": memory.batch,
            "activations": memory.activations,
            "largest transient": memory.transient,
        }
        text = ", ".join(f"{part} {file_size(size)}" for part, size in parts.items())
        lines.append(f"training, batch_size={batch}, {name}: {file_size(memory.peak)} at most ({text})")
    return lines


def _diagram(shown: Shown) -> str:
    """The drawing of a network, for its page."""
    from convarium.anatomy.diagram.draw import scene
    from convarium.anatomy.diagram.svg import svg

    return svg(scene(shown.layers, shown.image), f"diagram of {shown.name}", alone=False)


def _compared(shown: Sequence[Shown]) -> tuple[list[str], "Sheet"]:
    """What is said of several networks, and their table."""
    from convarium.anatomy.sheet import Sheet
    from convarium.anatomy.table import SIDE_BY_SIDE, SIDE_LEGEND, side_by_side

    rows, data = [], list(members("data"))
    for one in shown:
        published = one.stated.published if one.stated and one.as_published else Published()
        errors = {
            key: float(value) if (value := getattr(published, key)) else None for key in ("top1_error", "top5_error")
        }
        errors_on = published.data_set(data) if any(errors.values()) else None
        rows.append(side_by_side(one.name, one.layers, one.image, {**errors, "errors_on": errors_on}))
    changed = [one.name for one in shown if one.stated and not one.as_published]
    how = "as published" if all(one.as_published for one in shown) else "as the words say"
    notes = [SIDE_LEGEND]
    if changed:
        notes.append(f"Not as published, so without the paper's errors: {', '.join(changed)}.")
    return [f"{len(shown)} networks, {how}"], Sheet(SIDE_BY_SIDE, rows, None, notes)


def _draw(shown: Sequence[Shown], title: Sequence[str], sheet: "Sheet", words: Words) -> list[Path]:
    """The pictures that were asked for, and written."""
    asked = words.options.get("figure")
    if len(shown) > 1:
        if asked is None:
            return []
        from convarium.anatomy.picture import draw_errors

        if not any(row["top1_error"] or row["top5_error"] for row in sheet.rows):
            raise ConfigError(f"figure={asked}: none of these networks has a published error")
        with doing("draw"), writing(f"figure={asked}"):
            return [draw_errors(sheet.rows, Path(asked))]
    one, drawn = shown[0], list[Path]()
    if "diagram" in words.options:
        from convarium.anatomy.diagram.draw import draw

        path = Path(words.options["diagram"])
        level = "layers" if words.value("level") == "layers" else "stages"
        explain = words.value("explain") == "true"
        with doing("draw"), writing(f"diagram={path}"), appearing(path) as file:
            kind = path.suffix.removeprefix(".")
            draw(one.layers, one.image, file, kind=kind, title=title[0], level=level, explain=explain)
        drawn.append(path)
    return drawn


def _weights(shown: Shown) -> str:
    """Whose values a network has whose receptive fields are measured."""
    config = shown.config
    if shown.run:
        return f"trained, of {shown.run}"
    return str(config["weights"]) if config["weights"] else f"initial, not trained, seed={config['seed']}"


def _fields(shown: Shown) -> "list[Effective]":
    """The receptive fields of a network with values. Raises ConfigError if it has no maps."""
    import torch

    from convarium.anatomy.effective import measure
    from convarium.config.instantiate import build
    from convarium.run.pretrained import load_weights
    from convarium.trained.load import load_run

    with doing("measure the receptive fields"):
        torch.manual_seed(shown.config["seed"])
        net = load_run(shown.run) if shown.run else build(shown.config["arch"], "arch")
        if shown.config["weights"] and not shown.run:
            load_weights(net, shown.config)
        fields = measure(net, shown.layers, shown.image)
    if not fields:
        raise ConfigError(f"effective=true: {shown.name} has no maps, whose units would see a part of the image")
    return fields


VERB = Verb(
    name="anatomy",
    meaning="show what each layer of a network costs and sees, or compare networks",
    run=run,
    positions="[RUN]",
    required="arch=NAME[,NAME...]",
    options={
        "format": Option(
            "how the answer is printed; --json is format=json", ("text", "csv", "json", "md", "html"), "text"
        ),
        "level": Option("a row for each of these", ("layers", "blocks", "stages"), "blocks"),
        "memory": Option("whether the memory of a training step is predicted", TRUE_OR_FALSE, "true"),
        "effective": Option(
            "whether receptive fields are measured and drawn; also --effective", TRUE_OR_FALSE, "false"
        ),
        "diagram": Option("the file to draw the network in, .svg, .png, .pdf or .html; each layer with level=layers"),
        "explain": Option("whether the diagram says why each block is there; also --explain", TRUE_OR_FALSE, "false"),
        "figure": Option("the PNG to write: receptive fields, or of several networks the error against operations"),
    },
    overrides=f"keys of {', '.join(ACCEPTED)}; arch=all: every network",
    example="convarium anatomy arch=vgg16 norm=batch data.image_size=64, or: convarium anatomy arch=vgg16,resnet50",
    groups=ACCEPTED,
)
