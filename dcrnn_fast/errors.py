"""The one exception that means "the user can mend this", and how the kernels' own is told from a bug."""

import sys


class UserError(ValueError):
    """A mistake in what the user gave: a file, a flag, a value.

    The message is one line: what was wrong, what was got and what was wanted, which file, field or rank, and what to
    do. Commands print it without a traceback and exit with code 2; callers of the Python API can catch it as a
    ``ValueError``.
    """


def is_of_the_user(error: ValueError) -> bool:
    """Whether to print ``error`` without a traceback: it is a user's mistake, or an invalid ``DCRNN_FAST_*`` variable.

    The kernels know no ``UserError``; their ``VariableError`` was never raised in a process that has not loaded them.
    """
    variables = sys.modules.get("dcrnn_fast.kernels.variables")
    return isinstance(error, UserError) or (variables is not None and isinstance(error, variables.VariableError))
