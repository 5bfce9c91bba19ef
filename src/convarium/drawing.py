"""How every picture looks that matplotlib draws here: its style, its colors, and how it is placed and saved.

Nothing touches pyplot's state; Agg draws, whatever backend the user has. matplotlib is imported when it is needed.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

TRAIN, VALIDATION, WRONG, QUIET, INK = "#4c78a8", "#e4572e", "#b2182b", "#6b7280", "#1f2937"
STYLE: dict[str, Any] = {
    **dict.fromkeys(("text.usetex", "axes.spines.top", "axes.spines.right", "legend.frameon"), False),
    **dict.fromkeys(("figure.facecolor", "savefig.facecolor"), "white"),
    "text.hinting": "none",  # a tenth of the drawing, and hardly to be seen at 150 dots per inch
    "font.family": "sans-serif",
    "font.size": 10.0,
    "axes.titlesize": 11.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.edgecolor": "#9ca3af",
    "axes.axisbelow": True,
    "grid.color": "#e5e7eb",
    "grid.linewidth": 0.8,
}
"""For `matplotlib.rc_context`."""


LEFT = ".{}.left"
"""A file in the folder of the figures, in the place of one that is to be drawn later."""


def is_left(folder: Path) -> bool:
    """Whether figures of a run are still to be drawn into this folder."""
    return any(folder.glob(LEFT.format("*")))


def axes_at(figure: "Figure", left: float, below: float, width: float, height: float) -> "Axes":
    """Axes at a place in inches: to find out how much room their labels need takes as long as to draw them."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, below / up, width / across, height / up))


def save_png(figure: "Figure", path: Path, dpi: int) -> None:
    """`figure.savefig(path, dpi=dpi)`, which would draw everything once before it draws it, in half of its time."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    figure.set_dpi(dpi)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = canvas.buffer_rgba()  # type: ignore[no-untyped-call]
    image = Image.frombuffer("RGBA", canvas.get_width_height(), pixels, "raw", "RGBA", 0, 1).convert("RGB")
    image.save(path, "PNG", compress_level=2, dpi=(dpi, dpi))
