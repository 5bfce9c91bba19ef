"""The lock file, the README, the wheel and the names in the tree are what they say."""

import re
import shlex
import subprocess
import sys
import tomllib
import zipfile
from itertools import pairwise
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

from convarium.config.catalog import groups, members
from convarium.config.compose import compose
from convarium.config.overrides import readable
from convarium.errors import ConfigError
from convarium.sweep.grid import grid

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LOCK = (ROOT / "requirements.txt").read_text(encoding="utf-8")
LOCKED = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", LOCK, re.MULTILINE))


# the lock file


def direct_requirements() -> list[Requirement]:
    found = []
    for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]:
        requirement = Requirement(text)
        if requirement.name == "convarium":
            extras = [text for extra in sorted(requirement.extras) for text in PROJECT["optional-dependencies"][extra]]
            found += map(Requirement, extras)
        else:
            found.append(requirement)
    return found


def test_the_lock_file_names_no_registry() -> None:
    assert [line for line in LOCK.splitlines() if "://" in line or line.startswith("-")] == []


def test_the_lock_file_pins_every_requirement_by_hash() -> None:
    blocks = re.split(r"\n(?=[a-z])", LOCK)[1:]
    assert len(blocks) > len(direct_requirements())
    assert [block for block in blocks if not re.match(r"[a-z0-9-]+==\S+.*\\\n +--hash=sha256:", block)] == []


@pytest.mark.parametrize("requirement", direct_requirements(), ids=lambda requirement: requirement.name)
def test_the_lock_file_has_what_pyproject_asks_for(requirement: Requirement) -> None:
    assert requirement.specifier.contains(LOCKED[canonicalize_name(requirement.name)])


@pytest.mark.parametrize("name", ["lightning", "pytorch-lightning"])
def test_the_malicious_releases_of_lightning_cannot_be_installed(name: str) -> None:
    [requirement] = [wanted for wanted in direct_requirements() if wanted.name == name]
    assert not any(requirement.specifier.contains(release) for release in ("2.6.2", "2.6.3"))


# the README


def blocks() -> list[list[str]]:
    """The lines of each fenced block."""
    return [block.strip().splitlines() for block in re.findall(r"^```\n(.*?)^```", README, re.DOTALL | re.MULTILINE)]


def commands(program: str) -> list[str]:
    """What README says after the name of a program, in blocks and in the middle of the text."""
    lines = [line.partition(" #")[0] for block in blocks() for line in block]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", README, flags=re.DOTALL | re.MULTILINE))
    found = [words.removeprefix(program).strip() for words in (*lines, *spans) if words.startswith(f"{program} ")]
    return list(dict.fromkeys(found))


@pytest.mark.parametrize("command", commands("python train.py"))
def test_every_training_command_of_the_readme_composes(command: str, tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / "PHOTOS" / name).mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "PHOTOS" / name / "1.png")
    words = [word for word in shlex.split(command) if word != "..." and not word.startswith("resume=")]
    if words[:1] == ["--help"]:
        return
    if words[:2] == ["--cfg", "job"]:
        words = words[2:]
    points = [words]
    if words[:1] == ["-m"]:
        points = grid(OverridesParser.create().parse_overrides(readable(words[1:])))
        assert len(points) > 1
    for point in dict.fromkeys((tuple(points[0]), tuple(points[-1]))):
        compose(point)


@pytest.mark.parametrize("command", commands("convarium"))
def test_every_other_command_of_the_readme_has_a_verb_that_takes_its_words(command: str) -> None:
    from convarium.cli import find_verb

    verb, *words = command.split()
    if verb != "train":
        found, rest = find_verb(command.split())
        assert found.read(rest)
    if verb == "list" and words not in (["GROUP"], ["KEY"]):
        assert set(words) <= set(groups())
    if (verb, *words[:1]) == ("data", "fetch"):
        assert set(words[1:]) <= set(members("data"))


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        (line.removeprefix("$ python train.py "), answer)
        for block in blocks()
        for line, answer in pairwise(block)
        if line.startswith("$ python train.py ")
    ],
)
def test_the_errors_of_the_readme_are_those_that_come(command: str, answer: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose(shlex.split(command))
    assert f"error: {error.value}".startswith(answer.removesuffix(" ..."))


def test_the_readme_has_every_group_and_answers_that_are_there() -> None:
    rows = re.findall(r"^\| ((?:`\w+` ?)+)\| ([^|]*) \|", README, re.MULTILINE)
    listed = {group: cell for names, cell in rows for group in re.findall(r"\w+", names)}
    assert set(listed) == {group for group in groups() if "/" not in group and group not in ("study", "search")}
    for names, cell in rows:
        among = {member for group in re.findall(r"\w+", names) for member in members(group)}
        plain = re.sub(r"`[^`]*`|or several:?|each with", "", cell)
        assert set(re.findall(r"\w+", plain)) <= among, names


def test_every_make_target_of_the_readme_is_in_the_makefile() -> None:
    help = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    targets = {line.split()[1] for line in help.splitlines()}
    for command in commands("make"):
        assert {word for word in command.split() if "=" not in word} <= targets


def test_the_readme_can_be_read_in_a_sitting() -> None:
    assert len(README.splitlines()) <= 250


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#]+)\)", README))
def test_what_the_readme_links_to_is_there(target: str) -> None:
    assert target.startswith("https://") or (ROOT / target).is_file()


# the tree


def sources(*suffixes: str) -> list[Path]:
    folders = ("src", "conf", "tests", "benchmarks", "notebooks")
    return [path for folder in folders for path in (ROOT / folder).rglob("*") if path.suffix in suffixes]


def test_files_are_named_after_their_subject() -> None:
    vague = {"utils", "util", "helpers", "helper", "misc", "common"}
    parts = {(path, part) for path in sources(".py", ".yaml", ".ipynb") for part in path.relative_to(ROOT).parts}
    assert [path for path, part in parts if Path(part).stem in vague] == []


# the wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from this tree as `pip install .` builds it."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    [file] = folder.glob("*.whl")
    return zipfile.ZipFile(file)


def test_the_wheel_carries_the_package_and_its_configs(wheel: zipfile.ZipFile) -> None:
    source, conf = ROOT / "src", ROOT / "conf"
    package = {path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file()}
    configs = {f"convarium/conf/{path.relative_to(conf).as_posix()}" for path in conf.rglob("*.yaml")}
    expected = {name for name in package if "__pycache__" not in name} | configs
    assert {
        "convarium/data/datasets/optdigits/digits.npz",
        "convarium/py.typed",
        "hydra_plugins/convarium/sweeping.py",
    } < expected
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == expected


def test_the_wheel_brings_the_command_and_the_license(wheel: zipfile.ZipFile) -> None:
    [info] = {name.partition("/")[0] for name in wheel.namelist() if ".dist-info/" in name}
    assert "convarium = convarium.cli:main" in wheel.read(f"{info}/entry_points.txt").decode()
    assert wheel.read(f"{info}/licenses/LICENSE").decode().startswith("MIT License")


# `make setup` without uv

PIP = """#!/bin/sh
case "$*" in *use-pep517*)
    for number in $(seq 190); do
        echo "Collecting a$number==1 (from -r requirements.txt)"
        echo "  Downloading a$number-1-py3-none-any.whl (1.2 MB)"
    done
    echo "  Downloading torch-2.11-cp311-cp311-manylinux_2_28_x86_64.whl (539.1 MB)"
    echo "Installing collected packages: a1, a2"
    exit {code};;
esac
"""


@pytest.mark.parametrize("code", [0, 1])
def test_set_up_by_pip_prints_a_few_lines_and_fails_as_pip_does(tmp_path: Path, code: int) -> None:
    pip = tmp_path / "venv" / "bin" / "python"
    pip.parent.mkdir(parents=True)
    pip.write_text(PIP.format(code=code))
    pip.chmod(0o755)
    command = ["make", "setup", "UV=", f"VENV={tmp_path / 'venv'}", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    shown = [line for line in done.stdout.splitlines() if line.startswith("  ") or "pip" in line]
    assert (done.returncode, (tmp_path / "venv" / ".installed").is_file()) == (2 * code, code == 0)
    assert shown[0] == "by pip, which takes minutes"
    assert shown[-2:] == [
        "  Downloading torch-2.11-cp311-cp311-manylinux_2_28_x86_64.whl (539.1 MB)",
        "  writing 190 packages",
    ]
    assert len(done.stdout.splitlines()) < 20
