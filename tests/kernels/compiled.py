"""What the tests of compiled kernels share: the library, or a skip that CI does not accept; the units of this CPU."""

import os

import pytest

from dcrnn_fast.kernels.native import library

UNITS = ("generic", "avx2", "avx512", "avx512_bf16", "amx")


def require_library() -> None:
    """Skips where the kernels are not compiled; fails there when CI=true."""
    reason = library().reason
    if reason is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


def use_unit(unit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Caps the compiled kernels at ``unit``; skips where this CPU lacks it."""
    require_library()
    monkeypatch.setenv("DCRNN_FAST_CPU", unit)
    module = library().module
    assert module is not None
    reason = dict(module.cpu_units())[unit]
    if reason:
        pytest.skip(f"{unit}: {reason}")
