"""The one sparse form that this package keeps."""

from typing import Any

import numpy as np
import scipy.sparse


def canonical_csr(matrix: Any) -> Any:
    """A float64 ``csr_array`` copy: columns sorted within each row, duplicates summed, no explicit zeros."""
    canonical = scipy.sparse.csr_array(matrix, dtype=np.float64, copy=True)
    canonical.sum_duplicates()
    canonical.eliminate_zeros()
    canonical.sort_indices()
    return canonical
