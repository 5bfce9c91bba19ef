"""What conf/ has to offer, read as plain files: neither Hydra nor torch is needed to list it."""

from pathlib import Path


def conf_dir() -> Path:
    """The folder of groups: inside the installed package, or beside `src` in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "conf"
    return inside if inside.is_dir() else package.parents[1] / "conf"


def groups() -> list[str]:
    """Every folder that holds answers, e.g. "arch", "hydra/sweeper"."""
    root = conf_dir()
    return sorted({path.parent.relative_to(root).as_posix() for path in root.glob("*/**/*.yaml")})


def members(group: str) -> dict[str, str]:
    """The answers of a group, each with the comment line that opens its file."""
    return {path.stem: first_comment(path) for path in sorted((conf_dir() / group).glob("*.yaml"))}


def first_comment(path: Path) -> str:
    """The first comment line of a yaml that is not its `@package`; empty if there is none."""
    with path.open(encoding="utf-8") as lines:
        comments = (line.lstrip("# ").rstrip() for line in lines if line.startswith("#"))
        return next((line for line in comments if not line.startswith("@package")), "")
