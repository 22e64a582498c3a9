"""Text as files hold it: bytes or text."""


def text_of(value: object) -> str:
    """A value as text; bytes as UTF-8, invalid ones marked."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
