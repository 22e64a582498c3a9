"""Which files a plot can be, without the library that draws it."""

from pathlib import Path

from dcrnn_fast.errors import UserError

_FORMATS = ("png", "pdf", "svg")


def require_plot_format(path: str | Path) -> str:
    """png, pdf or svg, by the file's ending; else UserError."""
    ending = Path(path).suffix.lower().removeprefix(".")
    if ending not in _FORMATS:
        raise UserError(f"plots are written as .png, .pdf or .svg, got {str(path)!r}")
    return ending
