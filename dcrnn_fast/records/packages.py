"""Packages that only one watcher needs, and that a user installs for it."""

import importlib.util

from dcrnn_fast.errors import UserError


def require_package(name: str, flag: str, installed_by: str) -> None:
    """Raises UserError if the package is missing; ``installed_by`` is what pip has to install."""
    if importlib.util.find_spec(name) is None:
        raise UserError(f"{flag} needs the package {name}: pip install '{installed_by}', or leave {flag} out")
