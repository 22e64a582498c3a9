"""One flipped bit in a file that has a checksum: noticed when the file is read."""

import random
from functools import partial
from pathlib import Path

from dcrnn_fast.checkpoints.read import load_checkpoint
from dcrnn_fast.data.store import open_store, verify_store
from dcrnn_fast.errors import UserError


def measure(scene: Path, tries: int, seed: int) -> dict[str, dict[str, int]]:
    """For each checkpoint of a run and each file of a store: bits flipped, and noticed."""
    rng = random.Random(seed)
    counts = {
        f"checkpoint: {path.name}": _flips(path, partial(load_checkpoint, path), tries, rng)
        for path in sorted((scene / "run" / "checkpoints").glob("*.pt"))
    }
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
