"""One look for all figures, and how they reach the disk.

Figures are made without pyplot: nothing global is touched, nothing stays in memory, no display is needed.
"""

import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text

from dcrnn_fast.evaluation.fonts import FONT, fonts_for, in_any_weight
from dcrnn_fast.evaluation.plot_format import require_plot_format
from dcrnn_fast.files import write_together

INK = "#1f2328"
FAINT = "#8b949e"
MODEL = "#0b5fa5"
WORST = "#c1440e"
NEAR = "#e08214"
BASELINES = ("#d8b365", "#e08214", "#35978f", "#8073ac", "#b2182b")
"""distinct also to colour-blind readers; each line has its own marker as well"""
BASELINE_MARKERS = ("D", "s", "^", "v", "P")

_LOOK: Any = {
    "axes.edgecolor": FAINT,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "font.family": FONT,
    "font.size": 9.5,
    "grid.color": "#e6e8eb",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "savefig.facecolor": "white",
    "text.color": INK,
    "text.parse_math": False,  # a name with two dollars is no formula
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
}
_DPI = 160
_NO_XML = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]|\xef\xbf[\xbe\xbf]")


def look() -> Any:
    """Context in which figures are built: the style of every plot of the package."""
    return rc_context(_LOOK)


def new_figure(width: float, height: float, title: str, subtitle: str = "") -> Figure:
    """An empty figure (inches) with its title at the top left, and below it the lines of its subtitle."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    head = 0.75 + 0.16 * subtitle.count("\n") if subtitle else 0.45  # inches
    figure.set_layout_engine(
        ConstrainedLayoutEngine(rect=(0.1 / width, 0.05 / height, 1 - 0.25 / width, 1 - head / height))
    )
    figure.text(0.15 / width, 1 - 0.12 / height, title, va="top", fontsize=13, fontweight="bold")
    figure.text(0.15 / width, 1 - 0.42 / height, subtitle, va="top", fontsize=9.5, color="#57606a")
    return figure


def time_axis(axes: Axes, *, fewest: int = 4) -> None:
    """Ticks that name the day once, and hours alone if they are enough; the year belongs into the title."""
    # The locator's steps are up to half of the next larger unit: fewer ticks than that are not always to be had.
    locator = AutoDateLocator(minticks=fewest, maxticks=2 * fewest + 1)
    axes.xaxis.set_major_locator(locator)
    formats = ["%Y", "%b %Y", "%d %b", "%H:%M", "%H:%M", "%H:%M:%S"]
    coarser = ["%Y", "%b %Y", "%d %b", "%d %b", "%H:%M", "%H:%M"]
    formatter = ConciseDateFormatter(locator, formats=formats, zero_formats=coarser, show_offset=False)
    axes.xaxis.set_major_formatter(formatter)


def with_unit(name: str, unit: str) -> str:
    """ "speed (mph)", or the name alone."""
    return f"{short(name)} ({short(unit)})" if unit else short(name)


def short(text: str, longest: int = 40) -> str:
    """The text, cut where it would take the room of the picture."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def spread(items: Sequence[str], shown: int) -> list[str]:
    """The labels with all but about ``shown`` of them blank, so that none overlap."""
    every = max(1, -(-len(items) // shown))
    return [item if (index + 1) % every == 0 or len(items) <= shown else "" for index, item in enumerate(items)]


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write the complete figure or nothing, in the format of the file's ending.

    Raises:
        UserError: an ending other than .png, .pdf, .svg; the file cannot be written.
    """
    image = drawn(figure, require_plot_format(path))
    write_together(Path(path).parent, {Path(path).name: image})
    return Path(path)


def drawn(figure: Figure, ending: str = "png") -> bytes:
    """The figure's file, with fonts of this machine for characters that the package's own lacks."""
    image = io.BytesIO()
    with look(), in_any_weight(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from")  # ``fonts.unwritable_note`` is one line about it
        texts = [text for text in figure.findobj(Text) if isinstance(text, Text)]
        if len(fonts := fonts_for(text.get_text() for text in texts)) > 1:
            for text in texts:
                text.set_fontfamily(fonts)
        figure.savefig(image, format=ending, dpi=_DPI)
    # matplotlib notes each text in a comment, with control characters that no XML may hold.
    return _NO_XML.sub(b"", image.getvalue()) if ending == "svg" else image.getvalue()
