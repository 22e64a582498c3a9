"""The one exception that means "the user can mend this"."""


class UserError(ValueError):
    """A mistake in what the user gave: a file, a flag, a value.

    The message is one line: what was wrong, what was got and what was wanted, which file, field or rank, and what to
    do. Commands print it without a traceback and exit with code 2; callers of the Python API can catch it as a
    ``ValueError``.
    """
