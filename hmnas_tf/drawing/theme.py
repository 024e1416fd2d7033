"""What all pictures share: colours, fonts, and a figure that owes nothing to the user's settings of Matplotlib."""

from __future__ import annotations

import contextlib
import functools
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

# Four colours that a page may choose. They are near what is meant, so that a PNG shows them as they are, and so odd
# that in an SVG they can be found again and replaced by variables; see `picture`.
INK, MUTED, FAINT, PAPER = "#222324", "#5f6062", "#bbbcbd", "#fffdfe"
VARIABLES = {
    INK: "var(--ink, #222)",
    MUTED: "var(--muted, #666)",  # legible as text, unlike `FAINT`, which is for rules
    FAINT: "var(--faint, #bbb)",
    PAPER: "var(--paper, #fff)",
}

# Okabe and Ito's colours, which remain different to the colour-blind; in order of operations.
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999")
FIRST, SECOND = PALETTE[0], PALETTE[5]  # of two series
SHADE = FIRST  # of heat maps: the more of it covers the paper, the higher the value; a dark page makes it brighter
DARKEST = 0.7  # opacity of the highest value; ink is still legible on it
SHADED = "shade"  # begins the gid of what has `SHADE` beside a heat map
WIDTH = 8.0  # of charts, inches
SMALL, NORMAL = 8.0, 9.0  # sizes of text, points

_SETTINGS = {
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.labelcolor": INK,
    "axes.labelsize": NORMAL,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": NORMAL + 1,
    "figure.facecolor": PAPER,
    "font.size": NORMAL,
    "grid.alpha": 0.5,
    "grid.color": FAINT,
    "grid.linewidth": 0.5,
    "legend.edgecolor": FAINT,
    "legend.facecolor": PAPER,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "savefig.facecolor": "auto",
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "hmnas_tf",  # the same picture has the same bytes
    "text.color": INK,
    "text.parse_math": False,  # a class may be called a$b$
    "xtick.color": FAINT,
    "xtick.labelcolor": INK,
    "xtick.labelsize": SMALL,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
    "ytick.labelsize": SMALL,
}


@contextlib.contextmanager
def settings() -> Iterator[None]:
    """Inside, Matplotlib has this project's settings, whatever the user's are."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_SETTINGS)
        yield


def themed(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Decorates a function that draws, so that what it makes has this project's settings."""

    @functools.wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> Figure:
        with settings():
            return draw(*args, **kwargs)

    return drawn


def chart(height: float, *, width: float = WIDTH, rows: int = 1) -> tuple[Figure, list[Axes]]:
    """Returns a figure of a size in inches with one column of axes that share their x axis."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, list(figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0])


def whole_numbers(axis: Axis) -> None:
    """Lets an axis have its ticks at whole numbers only, also if there is only one."""
    axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))


def empty(axes: Axes, why: str) -> None:
    """Says on axes why there is nothing on them."""
    axes.set_axis_off()
    axes.text(0.5, 0.5, plain(why), transform=axes.transAxes, ha="center", va="center")


def operation_colour(column: int) -> str:
    """Returns the colour of the operation in a column of alpha."""
    return PALETTE[column % len(PALETTE)]


def plain(text: str) -> str:
    """Returns text without control characters, which XML cannot hold, in one line."""
    return "".join(
        "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c) in ("Cc", "Cs") else c for c in text
    )


def cell_type(reduction: bool) -> str:
    """Returns what a cell of one of the two types is called."""
    return "reduction" if reduction else "normal"
