"""Packages that only one watcher needs, and that a user installs for it."""

import importlib.util

from dcrnn_fast.errors import UserError


def require_package(name: str, flag: str) -> None:
    """Raises UserError with the command that installs it, if it is missing; the extra has the package's name."""
    if importlib.util.find_spec(name) is None:
        raise UserError(f"{flag} needs the package {name}: pip install 'dcrnn_fast[{name}]', or leave {flag} out")
