"""Shared by the pytest-benchmark files: the cases to skip, and a record's entries beside the times.

These are rates, the fraction of the roofline, memory, and the circumstances (``bench.machine``).
"""

import time
from functools import cache
from typing import Any

import pytest

from bench.gemm import GFLOP, PRODUCTS_OF, Product, roofline
from bench.machine import circumstances, peak_resident_mib

UNITS = ("generic", "avx2", "avx512", "amx")


def skip_or_cap(
    monkeypatch: pytest.MonkeyPatch, *, reason: str | None, compiles_for_minutes: bool, unit: str | None
) -> None:
    """Skips cases that cannot run or compile for too long; caps the unit by DCRNN_FAST_CPU, which every call reads."""
    if reason:
        pytest.skip(reason)
    if compiles_for_minutes:
        pytest.skip("compiles for minutes: python -m bench.compare --contestants compile")
    if unit is not None:
        monkeypatch.setenv("DCRNN_FAST_CPU", unit)


@cache
def gemm_rates() -> dict[str, float]:
    """GFLOP/s of each kind of product in this process, best of a few; measured once."""
    rates = {}
    for kind in sorted({kind for kinds in PRODUCTS_OF.values() for kind in kinds}):
        try:
            product = Product(kind)
        except NotImplementedError:  # PyTorch without oneDNN: the record's gemm_gflops lacks that kind
            continue
        product.run()
        seconds = []
        for _ in range(10):
            start = time.perf_counter()
            product.run()
            seconds.append(time.perf_counter() - start)
        rates[kind] = GFLOP / min(seconds)
    return rates


def extra_info(benchmark: Any, gflop: float, dtype: str, gigabytes: float | None = None) -> dict[str, Any]:
    """For ``benchmark.extra_info``, after it has run.

    Args:
        gflop: of the matrix products in one round.
        gigabytes: the least that a round must move: each input read once, each output written once.
    """
    best = benchmark.stats.stats.min
    rates = gemm_rates()
    return {
        **circumstances(),
        "gflop": gflop,
        "gflop_per_s": gflop / best,
        "gemm_gflops": rates,
        "roofline_fraction": gflop / best / roofline(dtype, rates),
        "least_gigabytes": gigabytes,
        "gigabytes_per_s": None if gigabytes is None else gigabytes / best,
        # The most that this process, with the library, ever had; a number of the op alone is in bench.compare's rows.
        "process_peak_mib": peak_resident_mib(),
    }
