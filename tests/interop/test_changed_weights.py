"""Weights of another DCRNN with one part changed: convert refuses them in a line or writes a checkpoint that opens."""

import copy
import io
import struct
import zipfile
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dcrnn_fast
from dcrnn_fast.checkpoints.save import torch_bytes
from tests.checkpoints.changed_parts import JUNK, UNSAVABLE, Where, changed, changes, part_at
from tests.interop.test_convert import Files


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("port"), "dual_k2_l2")


def weights_of(port: Files) -> dict[str, Any]:
    settings = {**port.case.config, "num_nodes": len(port.case.arrays["adjacency"])}
    return {"model": settings, "model_state_dict": dict(port.case.state), "epoch": 9}


def outcome(port: Files, payload: bytes, capsys: pytest.CaptureFixture[str], *flags: str, name: str = "x.tar") -> int:
    """The exit code of ``convert``; what it wrote opens, what it refuses takes one line."""
    (port.folder / name).write_bytes(payload)
    (port.folder / "model.pt").unlink(missing_ok=True)
    capsys.readouterr()
    code = port.convert(*(flags or ("--mean", "50", "--std", "10")), weights=name)
    said = capsys.readouterr().err
    if code == 0:
        dcrnn_fast.load(port.folder / "model.pt")
    else:
        assert code == 2
        assert said.count("\n") == 1, said
        assert len(said) < 1500
        assert not (port.folder / "model.pt").exists()
    return code


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_change_is_refused_or_opens(port: Files, capsys: pytest.CaptureFixture[str], data: st.DataObject) -> None:
    whole = weights_of(port)
    tops: list[Where] = [(name,) for name in whole]
    below = [(part, name) for part in ("model", "model_state_dict") for name in whole[part]]
    where = data.draw(st.sampled_from([*tops, *below]))
    try:
        payload = torch_bytes(changed(whole, where, data.draw(st.sampled_from(changes(part_at(whole, where))))))
    except UNSAVABLE:
        return
    outcome(port, payload, capsys)


@pytest.mark.parametrize(
    "change", ["claims more", "sparse", "quantized", "with NaN", "complex", "boolean", "meta", "cut"]
)
def test_a_weight_that_is_none_is_refused(port: Files, capsys: pytest.CaptureFixture[str], change: str) -> None:
    for name in port.case.state:
        assert outcome(port, torch_bytes(changed(weights_of(port), ("model_state_dict", name), change)), capsys) == 2


@pytest.mark.parametrize("name", ["filter_type", "seq_len", "horizon", "num_nodes"])
@pytest.mark.parametrize("junk", ["5", "-1", "10^30", "true", "x", "[]", "{}", "tensor"])
def test_settings_of_any_type_are_refused_or_left_alone(
    port: Files, capsys: pytest.CaptureFixture[str], name: str, junk: str
) -> None:
    whole = copy.deepcopy(weights_of(port))
    whole["model"][name] = JUNK[junk]
    outcome(port, torch_bytes(whole), capsys)


@pytest.mark.parametrize(("mean", "std"), [("nan", "1"), ("1", "inf"), ("1e400", "1"), ("1", "nan"), ("1", "1e-300")])
def test_a_scaler_that_no_float32_holds_is_refused(
    port: Files, capsys: pytest.CaptureFixture[str], mean: str, std: str
) -> None:
    payload = torch_bytes(weights_of(port))
    assert outcome(port, bytes(payload), capsys, "--mean", mean, "--std", std) == 2


def test_layers_without_end_are_refused_at_once(port: Files, capsys: pytest.CaptureFixture[str]) -> None:
    for number in ("9999", "9" * 5000):
        whole = weights_of(port)
        name = next(name for name in whole["model_state_dict"] if "layers.0" in name)
        whole["model_state_dict"][name.replace("layers.0", f"layers.{number}")] = torch.zeros(2, 2)
        assert outcome(port, torch_bytes(whole), capsys) == 2


def test_garbled_files_are_refused(port: Files, capsys: pytest.CaptureFixture[str]) -> None:
    payload = bytes(torch_bytes(weights_of(port)))
    directory = payload.rindex(b"PK\x05\x06")
    for at in (0, 3, 30, 60, directory + 4, directory + 10, directory + 16, payload.rindex(b"PK\x01\x02") + 1):
        changed_bytes = bytearray(payload)
        changed_bytes[at] ^= 6
        outcome(port, bytes(changed_bytes), capsys)
    for cut in (0, 1, 10, len(payload) // 2, len(payload) - 1):
        assert outcome(port, payload[:cut], capsys) == 2


def npz(**parts: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(f"{name}.npy", part)
    return buffer.getvalue()


def test_arrays_that_claim_more_than_the_file_holds_are_refused(
    port: Files, capsys: pytest.CaptureFixture[str]
) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros(3))
    claims = buffer.getvalue().replace(b"(3,), }", b"(10**9,), }").replace(b"(3,)", b"(999999999999,)")
    length = len(claims) - 10 - 24
    claims = claims[:8] + struct.pack("<H", length) + claims[10:]
    pickled = io.BytesIO()
    np.save(pickled, np.array([{}], dtype=object))
    for part in (claims, b"", b"\x93NUMPY", b"x" * 100, pickled.getvalue(), bytes(10**7)):
        assert outcome(port, npz(a=part), capsys, name="x.npz") == 2


def test_parts_that_claim_more_than_the_file_are_refused(port: Files, capsys: pytest.CaptureFixture[str]) -> None:
    """A torch file whose zeros were compressed: torch would allocate what they claim."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(bytes(torch_bytes({"a": torch.zeros(10**6)})))) as whole,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as small,
    ):
        for part in whole.infolist():
            small.writestr(part.filename, whole.read(part))
    assert len(buffer.getvalue()) < 10**5
    assert outcome(port, buffer.getvalue(), capsys) == 2
