"""``requirements_of.py NAME... [--into FOLDER]``: lists packages and all that they require; links their files there.

dcrnn_fast itself is left out.
"""

import argparse
import os
import re
import shutil
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path, PurePath

from packaging.requirements import Requirement

PROJECT = "dcrnn_fast"


def required(names: list[str]) -> dict[str, Distribution]:
    """The packages and what they require here, by name."""
    found: dict[str, Distribution] = {}
    while names:
        name = re.sub(r"[-_.]+", "-", names.pop()).lower()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:  # for another system, or an extra
            continue
        for text in found[name].requires or ():
            one = Requirement(text)
            if one.marker is None or one.marker.evaluate({"extra": ""}):
                names.append(one.name)
    return found


def _is_used(file: PurePath) -> bool:
    """Whether a program that only runs needs it: half of 40,000 files are for tests and compilers."""
    return not {"tests", "include"} & set(file.parts[:-1]) and file.suffix not in (".pyi", ".a")


def main() -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--into", type=Path)
    flags = parser.parse_args()
    for name, one in sorted(required(list(flags.names)).items()):
        if one.metadata["Name"] == PROJECT:
            continue
        print(name, one.version)
        for file in (one.files or ()) if flags.into is not None else ():
            source, target = Path(str(file.locate())), flags.into / file
            if ".." in file.parts or not _is_used(file) or not source.is_file():  # ..: of the environment's bin
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            target.unlink(missing_ok=True)
            try:
                os.link(source, target)
            except OSError:  # another file system
                shutil.copy2(source, target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
