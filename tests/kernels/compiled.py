"""What the tests of compiled kernels share: the library, or a skip that CI does not accept; the units of this CPU.

``python -m tests.kernels.compiled`` prints which units the tests execute here and which this CPU lacks.
"""

import pytest

from dcrnn_fast.kernels.native import library
from tests.checkout import missing

UNITS = ("generic", "avx2", "avx512", "avx512_bf16", "amx")


def require_library() -> None:
    """Skips where the kernels are not compiled; fails there when CI=true."""
    reason = library().reason
    if reason is not None:
        missing(reason)


def use_unit(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caps the compiled kernels at ``unit``; skips where this CPU lacks it."""
    require_library()
    monkeypatch.setenv("DCRNN_FAST_CPU", unit)
    module = library().module
    assert module is not None
    reason = dict(module.cpu_units())[unit]
    if reason:
        pytest.skip(f"{unit}: {reason}")


def main() -> None:
    """One line for each unit."""
    module, _, reason = library()
    if module is None:
        raise SystemExit(reason)
    for name, why_not in module.cpu_units():
        print(f"{name}: lacking, {why_not}" if why_not else f"{name}: executed")
        if why_not and name == "amx":
            print("  (here only emulated AMX, by the slow tests)")


if __name__ == "__main__":
    main()
