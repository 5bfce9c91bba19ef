"""The picture of a range test: the loss over the learning rate, and the rates that it singles out."""

from collections.abc import Sequence
from pathlib import Path

from convarium.drawing import INK, QUIET, STYLE, TRAIN, VALIDATION, axes_at, save_png
from convarium.files import appearing
from convarium.find.curve import Suggestion

ROOM = 0.15  # of the fall of the smoothed loss, above and below it


def save_chart(
    path: Path,
    name: str,
    rates: Sequence[float],
    losses: Sequence[float],
    smooth: Sequence[float],
    suggestion: Suggestion | None,
) -> None:
    """Draw the losses of a range test, single and smoothed, over their rates, 1,200 pixels wide."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(STYLE):  # type: ignore[arg-type]  # its stubs list every key
        figure = Figure(figsize=(8.0, 4.4))
        axes = axes_at(figure, 0.65, 0.55, 7.1, 3.4)
        axes.plot(rates, losses, color=TRAIN, alpha=0.35, linewidth=0.9, label="single steps")
        axes.plot(rates, smooth, color=TRAIN, linewidth=1.8, label="smoothed")
        highest = max(smooth[: smooth.index(min(smooth)) + 1])
        margin = ROOM * (highest - min(smooth)) or 1.0
        axes.set_ylim(min(smooth) - margin, highest + 3 * margin)  # what it diverges to is not of interest
        marked = (
            []
            if suggestion is None
            else [
                ("o", VALIDATION, suggestion.tenth, "a tenth of the minimum: suggested"),
                ("s", INK, suggestion.steepest, "steepest descent"),
                ("x", QUIET, suggestion.minimum, "minimum"),
            ]
        )
        for marker, color, rate, what in marked:
            at = min(range(len(rates)), key=lambda step: abs(rates[step] - rate))
            axes.axvline(rate, color=color, linewidth=0.9, linestyle=":")
            axes.plot([rate], [smooth[at]], marker, color=color, markersize=7, label=f"{what}, {rate:.2g}")
        axes.set_xscale("log")
        axes.set_xlim(rates[0], rates[-1])
        axes.set_xlabel("learning rate")
        axes.set_ylabel("training loss")
        axes.grid(True, axis="y")
        axes.set_title(f"Learning rate range test of {name}", y=1.02)
        axes.legend(loc="best")
        with appearing(path) as temporary:
            save_png(figure, temporary, 150)
