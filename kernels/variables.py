"""The error of an environment variable of ours that cannot mean anything."""


class VariableError(ValueError):
    """A ``DCRNN_FAST_*`` environment variable names what is not there, or asks for what cannot be.

    It is the user's mistake: commands print its one line without a traceback (``dcrnn_fast/errors.py``).
    """
