"""The one exception that means "the user can mend this", and the errors of the kernels that mean it too."""


class UserError(ValueError):
    """A mistake in what the user gave: a file, a flag, a value.

    The message is one line: what was wrong, what was got and what was wanted, which file, field or rank, and what to
    do. Commands print it without a traceback and exit with code 2; callers of the Python API can catch it as a
    ``ValueError``.
    """


def is_of_the_user(error: ValueError) -> bool:
    """Whether ``error`` is to be told without a traceback: a mistake, or a variable of ours that says what cannot be.

    The kernels read their variables wherever they first need them, and know no ``UserError``.
    """
    return isinstance(error, UserError) or str(error).startswith("DCRNN_FAST_")
