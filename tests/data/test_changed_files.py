"""Any part of a well-formed file, changed at random: one line, or an answer that means something."""

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dcrnn_fast.errors import UserError
from tests.data.changed_files import KINDS, read_changed, write_changed


def _change_and_read(kind: str, data: st.DataObject) -> None:
    def choose(options: Any) -> Any:
        return options[data.draw(st.integers(0, len(options) - 1))]

    with tempfile.TemporaryDirectory() as folder:
        path, said = write_changed(kind, Path(folder), choose)
        line = ""
        try:
            read_changed(kind, path)
        except UserError as error:
            line = str(error)
        assert not line or ("\n" not in line and path.name in line), said


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12)
@given(data=st.data())
def test_a_changed_part_is_one_line_or_an_answer(kind: str, data: st.DataObject) -> None:
    _change_and_read(kind, data)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=80)
@given(data=st.data())
def test_many_changed_parts_are_one_line_or_an_answer(kind: str, data: st.DataObject) -> None:
    _change_and_read(kind, data)
