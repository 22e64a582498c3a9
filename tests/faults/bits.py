"""One flipped bit in a file that has a checksum: noticed when the file is read."""

import random
from pathlib import Path

from dcrnn_fast.checkpoints.files import load_checkpoint
from dcrnn_fast.data.store import open_store, verify_store
from dcrnn_fast.errors import UserError


def measure(scene: Path, tries: int, seed: int) -> dict[str, dict[str, int]]:
    """For a checkpoint and each file of a store: bits flipped, and noticed."""
    rng = random.Random(seed)
    best = scene / "run" / "checkpoints" / "best.pt"
    counts = {"checkpoint": _flips(best, lambda: load_checkpoint(best), tries, rng)}
    store = scene / "store"

    def read_store() -> None:
        open_store(store)
        verify_store(store)

    for path in sorted(store.iterdir()):
        counts[f"store: {path.name}"] = _flips(path, read_store, tries, rng)
    return counts


def _flips(path: Path, read, tries: int, rng: random.Random) -> dict[str, int]:
    whole = path.read_bytes()
    noticed = tracebacks = 0
    try:
        for _ in range(tries):
            payload = bytearray(whole)
            payload[rng.randrange(len(payload))] ^= 1 << rng.randrange(8)
            path.write_bytes(payload)
            try:
                read()
            except UserError:
                noticed += 1
            except Exception:
                tracebacks += 1
    finally:
        path.write_bytes(whole)
    read()
    return {"bits": tries, "noticed": noticed, "tracebacks": tracebacks}
