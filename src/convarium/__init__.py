"""Convarium: an experiment platform for convolutional networks."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convarium.results.tables import load_sweep
    from convarium.trained.load import load_run

__all__ = ["load_run", "load_sweep"]


def __getattr__(name: str) -> Any:
    """What takes time to know is looked up when it is asked for (PEP 562): torch, and the installed version."""
    if name == "__version__":
        from importlib.metadata import version

        return version("convarium")
    if name == "load_run":
        from convarium.trained.load import load_run

        return load_run
    if name == "load_sweep":
        from convarium.results.tables import load_sweep

        return load_sweep
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
