"""The frame that every page shares: one HTML file with its style inside, without scripts or anything from outside."""

from datetime import UTC, datetime
from functools import cache
from importlib import resources

from dcrnn_fast import __version__
from dcrnn_fast.drawing.charts import COLOURS
from dcrnn_fast.drawing.colour_steps import STEPS
from dcrnn_fast.drawing.html import Markup, tag

_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def whole_page(title: str, *content: object, made_from: str) -> str:
    """The page as text.

    Args:
        content: what stands in ``main``.
        made_from: for the last line, "written ... from MADE_FROM".
    """
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        tag("title", title),
        tag("style", Markup(_style())),
    )
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    foot = tag("footer", f"written {now} by dcrnn_fast {__version__} from {made_from}")
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', tag('main', content), foot), lang='en')}\n"


def cards(*named: tuple[object, ...]) -> Markup:
    """(name, figure, what it is ..) of the most important figures, beside each other."""
    return tag("dl", [tag("div", tag("dt", name), tag("dd", *words)) for name, *words in named], class_="cards")


@cache
def _style() -> str:
    css = resources.files("dcrnn_fast.drawing").joinpath("style.css").read_text(encoding="utf-8")
    for i in range(COLOURS):
        css += f".s{i},.r{i}{{stroke:var(--c{i})}}.f{i}{{fill:var(--c{i})}}.k{i}{{background:var(--c{i})}}"
    for i, colour in enumerate(STEPS):
        css += f".ms{i}{{stroke:{colour}}}.mf{i}{{fill:{colour}}}"
    return css
