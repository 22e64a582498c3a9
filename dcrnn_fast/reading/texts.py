"""Text as files hold it: bytes or text."""

from collections.abc import Iterable


def text_of(value: object) -> str:
    """A value as text; bytes as UTF-8, invalid ones marked."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def unwritable(texts: Iterable[str]) -> str | None:
    """The first text that no file and no terminal takes (half a pair of UTF-16, which Python's texts may hold), with
    that half escaped; None: there is none.
    """
    texts = tuple(texts)
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        return next(ascii(text)[:60] for text in texts if text.encode(errors="ignore").decode() != text)
    return None
