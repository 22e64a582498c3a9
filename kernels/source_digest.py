"""Digest of the sources of the compiled kernels: is a library in a source checkout the one that these sources make?

``setup.py`` runs this file by its path, before torch or the package are there: it imports the standard library alone.
"""

import hashlib
from pathlib import Path

ENDINGS = (".cpp", ".h", ".cu", ".cuh")


def source_digest(csrc: Path) -> str:
    """SHA-256 of every source file below ``csrc``: its name and its content, in the order of the names."""
    digest = hashlib.sha256()
    for path in sorted(path for path in csrc.rglob("*") if path.suffix in ENDINGS):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(csrc).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()
