"""What pages are made of beside their data: the templates, scripts and styles of this folder."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def read(name: str) -> str:
    """A file of this folder."""
    return (files("convarium.report") / name).read_text(encoding="utf-8")


def render(template: str, **values: Any) -> str:
    """A template of this folder with its values, all of which become text: they are escaped."""
    return _environment().get_template(f"templates/{template}.html").render(values)


def scripts(names: Sequence[str]) -> list[str]:
    """Scripts of this folder, in the order in which they are to run."""
    return [read(f"scripts/{name}.js") for name in names]


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FunctionLoader

    return Environment(loader=FunctionLoader(read), autoescape=True, trim_blocks=True, lstrip_blocks=True)
