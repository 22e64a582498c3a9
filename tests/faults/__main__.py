"""The command line of the package; each kind of fault prints a table of its own."""

import argparse

import torch

from tests.faults import __doc__ as purpose
from tests.faults import bits, disks, kills, parts, reads, scene
from tests.faults.forked import scratch

TRIES = {"kills": 20, "bits": 200, "reads": 400, "parts": 200, "disks": 1}


def main() -> None:
    """Measures the kinds of fault that the command line names; all of them if it names none."""
    parser = argparse.ArgumentParser(description=purpose, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", choices=[*TRIES, []], help="left out: all")
    parser.add_argument("--tries", type=int, help=f"of each row; left out: {TRIES}")
    parser.add_argument("--seed", type=int, default=0)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    with scratch() as folder:
        scene.build(folder)
        for kind in flags.kinds or TRIES:
            tries = flags.tries or TRIES[kind]
            if kind == "kills":
                counts = kills.measure(tries, flags.seed)
            else:
                counts = {"bits": bits, "reads": reads, "parts": parts, "disks": disks}[kind].measure(
                    folder, tries, flags.seed
                )
            _print(kind, counts)


def _print(kind: str, counts: dict[str, dict[str, int]]) -> None:
    names = list(next(iter(counts.values())))
    print(f"\n| {kind} | {' | '.join(names)} |\n|---|{'---:|' * len(names)}")
    for row, found in counts.items():
        print(f"| {row} | {' | '.join(str(found[name]) for name in names)} |", flush=True)


if __name__ == "__main__":
    main()
