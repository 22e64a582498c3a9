"""The one exception that means "the user can fix this", and how the kernels' own differs from a bug."""

import sys


class UserError(ValueError):
    """A mistake in the user's input: a file, a flag, a value.

    The message is one line: the mistake, the value that was given and the one that is wanted, the file, field or rank,
    and the remedy. Commands print it without a traceback and exit with code 2; callers of the Python API can catch it
    as a ``ValueError``.
    """

    exit_code = 2
    """that commands end with"""


class ToldElsewhereError(UserError):
    """A mistake that another process of the same run prints; this one ends with the same exit code, silently."""


def exit_code_of(error: ValueError) -> int:
    """What a command ends with, if ``is_of_the_user(error)``."""
    return error.exit_code if isinstance(error, UserError) else UserError.exit_code


def is_of_the_user(error: ValueError) -> bool:
    """Whether to print ``error`` without a traceback: it is a user's mistake, or an invalid ``DCRNN_FAST_*`` variable.

    The kernels know no ``UserError``; their ``VariableError`` was never raised in a process that has not loaded them.
    """
    variables = sys.modules.get("dcrnn_fast.kernels.variables")
    return isinstance(error, UserError) or (variables is not None and isinstance(error, variables.VariableError))
