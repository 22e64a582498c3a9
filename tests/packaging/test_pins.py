"""The pinned Triton is the one that PyPI's CUDA wheels of the pinned torch ask for; CPU builds ask for none."""

from tests.checkout import ROOT

# As `pip install --dry-run torch==<version>` on Linux reports it.
TRITON_OF_TORCH = {"2.13.0": "3.7.1"}


def test_triton_is_the_one_that_torch_requires() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    assert pins["torch"] in TRITON_OF_TORCH, "another torch: look up which triton its PyPI wheel requires"
    assert pins["triton"] == TRITON_OF_TORCH[pins["torch"]]
