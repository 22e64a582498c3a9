"""The Python in docs/ runs as it is printed."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.checkout import ROOT

DOCS = ROOT / "docs"


def test_graphs_in_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("distances.csv").write_text("from,to,cost\na,b,1\nb,c,2\nc,a,1.5\n", encoding="utf-8")
    names: dict[str, Any] = {"adjacency": np.eye(4, k=1)}
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "graphs.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, "graphs.md", "exec"), names)
    assert len(names["operators"]) == 1 + 2 * 3
    assert names["forecast_BFNO"].shape == (8, 12, 4, 1)
    assert names["state_BNH"].shape == (8, 4, 16)
