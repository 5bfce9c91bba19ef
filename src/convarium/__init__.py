"""Convarium: an experiment platform for convolutional networks."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from convarium.trained.load import load_run

__all__ = ["load_run"]


def __getattr__(name: str) -> Any:
    """Torch is imported when it is asked for (PEP 562)."""
    if name == "load_run":
        from convarium.trained.load import load_run

        return load_run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
