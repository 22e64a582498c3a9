"""HTML and SVG as text in which nothing that was not made here is markup: other text is escaped where it enters."""

import re
from html import escape

_NO_HTML = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


class Markup(str):
    """Text that is markup already."""

    __slots__ = ()


def markup_of(content: object) -> Markup:
    """Markup as it is; anything else as text, characters that HTML cannot hold replaced; None: nothing."""
    if isinstance(content, Markup):
        return content
    if isinstance(content, list | tuple):
        return Markup("".join(map(markup_of, content)))
    return Markup("" if content is None else escape(_NO_HTML.sub("\ufffd", str(content)), quote=True))


def tag(name: str, *content: object, **attributes: object) -> Markup:
    """An element; ``class_`` stands for class and ``_`` for a dash, an attribute that is None is left out."""
    words = [
        f'{key.rstrip("_").replace("_", "-")}="{markup_of(value)}"'
        for key, value in attributes.items()
        if value is not None
    ]
    return Markup(f"<{' '.join([name, *words])}>{markup_of(content)}</{name}>")


def svg_figure(
    title: str,
    description: str,
    drawn: object,
    size: tuple[float, float],
    *below: object,
    class_: str | None = None,
    svg_class: str | None = None,
) -> Markup:
    """A drawing with its title, read aloud by its description.

    Args:
        size: width and height, in the drawing's units.
        below: what stands under it.
        class_, svg_class: of the figure, and of the drawing.
    """
    words = (tag("title", title), tag("desc", description))
    box = f"0 0 {size[0]:.0f} {size[1]:.0f}"
    svg = tag("svg", *words, drawn, viewBox=box, role="img", class_=svg_class)
    return tag("figure", tag("figcaption", title), svg, *below, class_=class_)
