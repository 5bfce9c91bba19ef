"""What conf/ has to offer, read as plain files: neither Hydra nor torch is needed to list it."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from convarium.config.trust import trust
from convarium.wording import plain


def conf_dir() -> Path:
    """The folder of groups: inside the installed package, or beside `src` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


def groups(config_dir: Path | None = None) -> list[str]:
    """Every folder that holds answers, e.g. "arch", "hydra/sweeper"; those in `config_dir` too."""
    roots = (conf_dir(), *([config_dir] if config_dir else []))
    found = {path.parent.relative_to(root).as_posix() for root in roots for path in root.glob("*/**/*.yaml")}
    return sorted(found - {"wandb"})  # the sweeps of W&B's own agents


def files(group: str, config_dir: Path | None = None) -> dict[str, Path]:
    """The yaml file of each answer of a group, sorted; that in `config_dir` goes before one's own
    (`convarium.config.trust`), and this before ours."""
    roots = (conf_dir(), *trust().folders, *([config_dir] if config_dir else []))
    by_name = {path.stem: path for root in roots for path in (root / group).glob("*.yaml") if path.is_file()}
    return dict(sorted(by_name.items()))


def members(group: str, config_dir: Path | None = None) -> dict[str, str]:
    """The answers of a group, each with the comment line that opens its file."""
    return {name: next(iter(opening_comments(path)), "") for name, path in files(group, config_dir).items()}


def entries(group: str, name: str) -> list[str]:
    """The top-level keys of an answer's file; none if it has no file, or says them elsewhere."""
    path = files(group).get(name)
    if path is None:
        return []
    return re.findall(r"^(?!defaults\b)(\w+):", path.read_text(encoding="utf-8"), re.MULTILINE)


def opening_comments(path: Path) -> list[str]:
    """The comment lines at the start of a yaml, its `@package` left out."""
    opening = []
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.startswith("#"):
                break
            opening.append(line.lstrip("# ").rstrip())
    return [line for line in opening if not line.startswith("@package")]


class Published(NamedTuple):
    """What a paper gives of its network: counts as it rounds them, errors in percent; None: it does not say."""

    parameters: str | None = None
    multiply_adds: str | None = None
    top1_error: str | None = None
    top5_error: str | None = None
    protocol: str | None = None

    def data_set(self, among: Iterable[str]) -> str | None:
        """Which of these data sets, by their names here, the protocol names: the longest, as imagenette has imagenet
        in it; None if none."""
        named = [name for name in among if plain(name) in plain(self.protocol or "")]
        return max(named, key=len, default=None)


class Architecture(NamedTuple):
    """What the comments that open an architecture's yaml state; the counts are ours and tested.

    Both leave out auxiliary heads, which are there in training only; `with_heads` are the parameters with them.
    """

    title: str
    authors: str
    year: int
    where: str
    parameters: int
    with_heads: int | None
    channels: int
    image_size: int
    num_classes: int
    multiply_adds: int | None
    published: Published
    measured: Published = Published()  # the same of ours, where a run measured it
    misquoted: str | None = None
    """What is often said of it and is not so, with what is so."""


ARCHITECTURE = re.compile(
    r"(?P<title>.+) - (?P<authors>.+) (?P<year>\d{4}), (?P<where>.+) - "
    r"(?P<parameters>[\d,]+) parameters( \((?P<with_heads>[\d,]+) with auxiliary heads\))? at "
    r"(?P<channels>\d+)x(?P<image_size>\d+)x(?P=image_size), "
    r"(?P<num_classes>[\d,]+) class(es)?"
    r"(, (?P<multiply_adds>[\d,]+) multiply-adds)?"
)
PUBLISHED = {
    "parameters": re.compile(r"parameters (.+)"),
    "multiply_adds": re.compile(r"multiply-adds (.+)"),
    "top1_error": re.compile(r"(?:top-1 )?error ([\d.]+) %"),
    "top5_error": re.compile(r"top-5 error ([\d.]+) %"),
}


def architectures(config_dir: Path | None = None) -> dict[str, Architecture]:
    """What the yamls of conf/arch state; one that states nothing of the kind is left out."""
    stated = {name: read_architecture(opening_comments(path)) for name, path in files("arch", config_dir).items()}
    return {name: architecture for name, architecture in stated.items() if architecture}


def read_architecture(comments: list[str]) -> Architecture | None:
    """The statement in a yaml's opening comments; None if the first is not of that form."""
    match = ARCHITECTURE.fullmatch(comments[0] if comments else "")
    if match is None:
        return None
    stated: dict[str, Any] = match.groupdict()
    for name in ("year", "parameters", "with_heads", "channels", "image_size", "num_classes", "multiply_adds"):
        stated[name] = stated[name] and int(stated[name].replace(",", ""))
    lines = dict(line.split(": ", 1) for line in comments[1:] if ": " in line)
    published, measured = (read_published(lines.get(name, "")) for name in ("Published", "Measured"))
    return Architecture(**stated, published=published, measured=measured, misquoted=lines.get("Misquoted"))


def read_published(line: str) -> Published:
    """The items of a `# Published:` or `# Measured:` line; what is none of the figures is the protocol."""
    fields: dict[str, str] = {}
    for item in filter(None, (item.strip() for item in line.split(";"))):
        known = [(name, match[1]) for name, form in PUBLISHED.items() if (match := form.fullmatch(item))]
        name, value = known[0] if known else ("protocol", item)
        fields[name] = f"{fields[name]}; {value}" if name in fields else value
    return Published(**fields)
