"""The one exception that means "the user can fix this", how the kernels' own differs from a bug, and exit codes."""

import sys

MISTAKE = 2
"""exit code of a command that met a user's mistake"""
STOPPED = 85
"""exit code of a run that was asked to stop and can be resumed; not 0, or a job scheduler would think it finished"""


class UserError(ValueError):
    """A mistake in the user's input: a file, a flag, a value.

    The message is one line: the mistake, the value that was given and the one that is wanted, the file, field or rank,
    and the remedy. Commands print it without a traceback and exit with code 2; callers of the Python API can catch it
    as a ``ValueError``.
    """

    exit_code = MISTAKE
    """that commands end with"""


class ToldElsewhereError(UserError):
    """A mistake that another process of the same run prints; this one ends with the same exit code, silently."""


def exit_code_of(error: ValueError) -> int:
    """What a command ends with, if ``is_of_the_user(error)``."""
    return error.exit_code if isinstance(error, UserError) else MISTAKE


def is_of_the_user(error: ValueError) -> bool:
    """Whether to print ``error`` without a traceback: it is a user's mistake, or an invalid ``DCRNN_FAST_*`` variable.

    The kernels know no ``UserError``; their ``VariableError`` was never raised in a process that has not loaded them.
    """
    variables = sys.modules.get("dcrnn_fast.kernels.variables")
    return isinstance(error, UserError) or (variables is not None and isinstance(error, variables.VariableError))
