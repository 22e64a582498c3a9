"""Lets a source checkout find ``dcrnn_fast.kernels`` in the folder ``kernels/`` beside ``dcrnn_fast/``.

An installed copy has the kernels inside the package (``setup.py`` maps the folder), and nothing happens here. A run
from the repository's root imports ``./dcrnn_fast`` even if the package is installed, because Python puts the current
folder first on its path, and in that folder the mapping does not exist.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

KERNELS = "dcrnn_fast.kernels"
PACKAGE_FOLDER = Path(__file__).resolve().parent
SOURCE_FOLDER = PACKAGE_FOLDER.parent / "kernels"


class SourceKernels(importlib.abc.MetaPathFinder):
    """Answers for exactly one name; modules below it are found through its search locations."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != KERNELS:
            return None
        return importlib.util.spec_from_file_location(
            fullname, SOURCE_FOLDER / "__init__.py", submodule_search_locations=[str(SOURCE_FOLDER)]
        )


def mount_kernels() -> None:
    """Makes ``import dcrnn_fast.kernels`` work in a source checkout; a second call changes nothing."""
    installed = (PACKAGE_FOLDER / "kernels" / "__init__.py").is_file()
    # By name: a reload of this module makes a new class of the same name.
    mounted = any(type(finder).__name__ == SourceKernels.__name__ for finder in sys.meta_path)
    if not installed and not mounted and (SOURCE_FOLDER / "__init__.py").is_file():
        # First: the finder of an editable install of another checkout would mix that one's kernels into this package.
        sys.meta_path.insert(0, SourceKernels())
