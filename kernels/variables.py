"""The error of a ``DCRNN_FAST_*`` environment variable."""


class VariableError(ValueError):
    """A ``DCRNN_FAST_*`` environment variable has an unknown or impossible value.

    It is the user's mistake: commands print its one line without a traceback (``dcrnn_fast/errors.py``).
    """
