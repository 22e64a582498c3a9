"""Which files a plot can be, and the line about one that is missing; without the library that draws it."""

from pathlib import Path

from dcrnn_fast.errors import UserError
from dcrnn_fast.files import UNCHANGED
from dcrnn_fast.messages import one_line

_FORMATS = ("png", "pdf", "svg")


def require_plot_format(path: str | Path) -> str:
    """png, pdf or svg, by the file's ending; else UserError."""
    ending = Path(path).suffix.lower().removeprefix(".")
    if ending not in _FORMATS:
        raise UserError(f"plots are written as .png, .pdf or .svg, got {str(path)!r}")
    return ending


def require_page(path: str | Path) -> None:
    """Raises UserError if a file's name is not a page's."""
    if Path(path).suffix.lower() not in (".html", ".htm"):
        raise UserError(f"a page is written as .html, got {str(path)!r}")


def lost_picture(path: Path, error: Exception) -> str:
    """The line about a picture that could not be drawn or written."""
    if isinstance(error, UserError):
        return one_line(error).removesuffix(UNCHANGED)
    return f"cannot draw {path}: {type(error).__name__}: {one_line(error)[:200]}"
