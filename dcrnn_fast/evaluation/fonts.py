"""Fonts for names that the package's own font cannot write: found on the machine, or reported missing in one line."""

import functools
import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

FONT = "DejaVu Sans"
_SHOWN = 8
_NO_TEXT = "Last Resort"  # has a box for every character


def unwritable_note(texts: Iterable[str]) -> str | None:
    """A line about the characters of these texts that no font of this machine can write; None: there are none."""
    lacking = needed(texts)
    if not lacking or not (rest := lacking.difference(*map(_characters, fonts_for(texts)))):
        return None
    shown = " ".join(sorted(rest)[:_SHOWN]) + (" …" if len(rest) > _SHOWN else "")
    return (
        f"look: no font of this machine has {len(rest)} character(s) of the names ({shown}): pictures "
        "show boxes for them; install a font that has them (Noto Sans CJK has Chinese, Japanese and Korean)"
    )


def fonts_for(texts: Iterable[str]) -> list[str]:
    """Names of fonts, the package's own first, that together write as much of these texts as this machine can."""
    fonts, rest = [FONT], needed(texts)
    while rest:
        best = max(_others(), key=lambda name: len(rest & _characters(name)), default=None)
        if best is None or not rest & _characters(best):
            break
        fonts.append(best)
        rest = rest - _characters(best)
    return fonts


def needed(texts: Iterable[str]) -> frozenset[str]:
    """The characters of these texts that the package's own font lacks."""
    others = frozenset(c for c in set("".join(texts)) if c.isprintable() and not c.isascii())
    return others - _characters(FONT) if others else others


def _others() -> list[str]:
    from matplotlib.font_manager import fontManager

    names = {entry.name for entry in fontManager.ttflist if entry.style == "normal"}
    return sorted(name for name in names if not name.startswith((FONT, _NO_TEXT)))


@contextmanager
def in_any_weight() -> Iterator[None]:
    """While drawing: a found font may have one weight only, which matplotlib would log in a line of its own."""

    def is_other(record: logging.LogRecord) -> bool:
        return not record.getMessage().startswith("findfont: Failed to find font weight")

    log = logging.getLogger("matplotlib.font_manager")
    log.addFilter(is_other)
    try:
        yield
    finally:
        log.removeFilter(is_other)


@functools.cache
def _characters(name: str) -> frozenset[str]:
    from matplotlib.font_manager import fontManager, get_font  # 20 MB that plain names can do without

    upright = [entry for entry in fontManager.ttflist if entry.name == name and entry.style == "normal"]
    regular = min(upright, key=lambda entry: entry.weight not in (400, "normal", "regular"))
    try:
        return frozenset(map(chr, get_font(regular.fname).get_charmap()))
    except (OSError, RuntimeError, ValueError):  # a broken font file writes nothing
        return frozenset()
