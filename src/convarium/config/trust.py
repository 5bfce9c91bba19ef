"""Whose Python a config may name beside our own, and where one's own answers are: the environment's CONVARIUM_TRUST.

    CONVARIUM_TRUST=~/mylab,theirlab

A folder is one's own: the Python files in it are imported by their names (`mynet.py`: `_target_: mynet.Net`), and its
yaml files are answers of the groups (`arch/mynet.yaml`: `arch=mynet`). A name is that of a package that can be imported
anyway. Read once, before any config is: no config can change it. No torch here.
"""

import os
import sys
from functools import cache
from pathlib import Path
from typing import NamedTuple

from convarium.errors import ConfigError

VARIABLE = "CONVARIUM_TRUST"


class Trust(NamedTuple):
    """What the environment admits."""

    prefixes: tuple[str, ...]
    """Of the names of targets, each with a dot at its end."""
    folders: tuple[Path, ...]
    """One's own."""


@cache
def trust() -> Trust:
    """What is admitted; its folders can be imported from. Raises ConfigError for a folder that is not there."""
    entries = [entry.strip() for entry in os.environ.get(VARIABLE, "").split(",") if entry.strip()]
    folders = tuple(Path(entry).expanduser().absolute() for entry in entries if _is_path(entry))
    names = [entry for entry in entries if not _is_path(entry)]
    for folder in folders:
        if not folder.is_dir():
            raise ConfigError(f"{VARIABLE}={folder}: no such folder")
        names += sorted(
            path.stem for path in folder.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()
        )
        if str(folder) not in sys.path:
            sys.path.append(str(folder))  # last: a file of it hides no package
    if folders:  # for the processes that are started from here, wherever they stand
        os.environ[VARIABLE] = ",".join([*map(str, folders), *(entry for entry in entries if not _is_path(entry))])
    return Trust(tuple(f"{name}." for name in names), folders)


def _is_path(entry: str) -> bool:
    return os.sep in entry or entry in (".", "..", "~")
