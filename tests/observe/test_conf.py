"""The yaml files of the logger and callbacks groups say what their classes take."""

import importlib
import inspect
from pathlib import Path

import pytest
import yaml

FILES = sorted(
    file for group in ("logger", "callbacks") for file in (Path(__file__).parents[2] / "conf" / group).glob("*.yaml")
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}={file.stem}")
def test_a_file_holds_one_entry_of_its_name_whose_keys_are_arguments(file: Path) -> None:
    content = yaml.safe_load(file.read_text())
    if file.stem == "none":
        assert content == {"logger": {}}
        return
    assert list(content) == [file.stem]
    keys = dict(content[file.stem])
    module, _, name = keys.pop("_target_").rpartition(".")
    if not module.startswith("convarium.observe"):
        return
    arguments = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    assert set(keys) == set(arguments)
    defaults = {key: list(p.default) if isinstance(p.default, tuple) else p.default for key, p in arguments.items()}
    differing = {key for key in keys if keys[key] != defaults[key] and not (keys[key] == {} and defaults[key] is None)}
    assert differing <= {"group"}  # the sweep's
