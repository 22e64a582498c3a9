"""The check on first use, with kernels that are right, wrong, and wrong only in a gradient."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from dcrnn_fast.kernels import diffusion_conv, selfcheck
from dcrnn_fast.kernels.diffusion_conv import function
from dcrnn_fast.kernels.diffusion_conv.manual import diffusion_conv_manual
from dcrnn_fast.kernels.diffusion_conv.specification import diffusion_conv_specification
from dcrnn_fast.kernels.dispatch import Implementation, always

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(selfcheck.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(selfcheck, "CHECKED_DEVICES", ("cpu",))
    selfcheck._verdict.cache_clear()
    return tmp_path / "cache"


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[..., object]], list[int]]:
    """Puts a made-up Triton kernel before the real implementations; the list counts its calls."""

    def put(run: Callable[..., object]) -> list[int]:
        calls: list[int] = []

        def counted(*arguments: object) -> object:
            calls.append(1)
            return run(*arguments)

        made = Implementation("triton", counted, always, self_checked=True)
        spared = tuple(other for other in function.IMPLEMENTATIONS if other.name != "triton")
        monkeypatch.setattr(function, "IMPLEMENTATIONS", (made, *spared))
        return calls

    return put


def problem_of(dtype: torch.dtype) -> tuple[torch.Tensor, object, torch.Tensor, torch.Tensor]:
    terms = selfcheck._terms(selfcheck._made_operators().float())
    x, weight, bias = (tensor.to(dtype) for tensor in selfcheck._made(selfcheck._CASES["diffusion_conv"][1]))
    return x, terms, weight, bias


def wrong_gradient(x, terms, weight, bias):
    y = diffusion_conv_manual(x, terms, weight, bias)
    return y.detach() + (y - y.detach()) * 1.5


def wrong_in_one_row(x, terms, weight, bias):
    return diffusion_conv_manual(x, terms, weight, bias).index_fill(1, torch.tensor([36]), 0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_right_kernel_is_checked_once_and_used(install, dtype, caplog) -> None:
    calls = install(diffusion_conv_manual)
    diffusion_conv(*problem_of(dtype), backend="auto")
    assert len(calls) == 3, "two for the check"
    diffusion_conv(*problem_of(dtype), backend="triton")
    selfcheck._verdict.cache_clear()  # as a new process
    diffusion_conv(*problem_of(dtype), backend="triton")
    assert len(calls) == 5, "the verdict was kept on disk"
    assert not caplog.records


@pytest.mark.parametrize("run", [wrong_gradient, wrong_in_one_row])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_a_wrong_kernel_is_disabled_with_one_warning(install, run, dtype, caplog) -> None:
    caplog.set_level(logging.WARNING, "dcrnn_fast.kernels")
    calls = install(run)
    x, terms, weight, bias = problem_of(dtype)
    for _ in range(3):
        got = diffusion_conv(x, terms, weight, bias)
        torch.testing.assert_close(got, diffusion_conv_specification(x, terms, weight, bias), rtol=0.05, atol=0.05)
    assert len(calls) == 2
    assert sum("it is not used" in record.message for record in caplog.records) == 1
    with pytest.raises(NotImplementedError, match=r"triton: its self-check failed on this GPU: .* is off by"):
        diffusion_conv(x, terms, weight, bias, backend="triton")
    selfcheck._verdict.cache_clear()
    diffusion_conv(x, terms, weight, bias)
    assert len(calls) == 2, "the verdict was kept on disk"


def test_nan_is_no_agreement(install) -> None:
    install(lambda x, terms, weight, bias: diffusion_conv_manual(x, terms, weight, bias) * float("nan"))
    assert "off by nan" in selfcheck._check("diffusion_conv", "triton", CPU, torch.float32).problem


def test_a_damaged_verdict_is_made_again(install, cache_folder: Path, caplog) -> None:
    caplog.set_level(logging.WARNING, "dcrnn_fast.kernels")
    calls = install(diffusion_conv_manual)
    diffusion_conv(*problem_of(torch.float32))
    (file,) = cache_folder.iterdir()
    file.write_text("{")
    selfcheck._verdict.cache_clear()
    diffusion_conv(*problem_of(torch.float32))
    assert len(calls) == 6
    assert json.loads(file.read_text())["problem"] == ""
    assert "is made again" in caplog.text


def test_a_cache_that_cannot_be_written_is_said_and_does_not_stop_anything(
    install, monkeypatch, tmp_path, caplog
) -> None:
    caplog.set_level(logging.WARNING, "dcrnn_fast.kernels")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(selfcheck.CACHE_VARIABLE, str(tmp_path / "file" / "inside"))
    calls = install(diffusion_conv_manual)
    diffusion_conv(*problem_of(torch.float32))
    assert len(calls) == 3
    assert "cannot be kept" in caplog.text


def test_the_verdict_is_of_one_dtype_and_version(install, monkeypatch) -> None:
    calls = install(diffusion_conv_manual)
    diffusion_conv(*problem_of(torch.float32))
    diffusion_conv(*problem_of(torch.bfloat16))
    assert len(calls) == 6
    monkeypatch.setattr(selfcheck, "__version__", "9")
    selfcheck._verdict.cache_clear()
    diffusion_conv(*problem_of(torch.float32))
    assert len(calls) == 9
    monkeypatch.setenv("DCRNN_FAST_TRITON", "gather")
    diffusion_conv(*problem_of(torch.float32))
    assert len(calls) == 12


@pytest.mark.parametrize("backend", ["manual", "cpu"])
@pytest.mark.parametrize("operator", list(selfcheck._CASES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_right_backends_pass(operator: str, backend: str, dtype: torch.dtype) -> None:
    assert selfcheck._check(operator, backend, CPU, dtype).problem == ""


def test_a_kernel_that_the_device_refuses_is_passed_over(install, caplog) -> None:
    from triton.runtime.errors import OutOfResources

    def refused(*arguments: object) -> object:
        raise OutOfResources(232448, 101376, "shared memory")

    install(refused)
    y = diffusion_conv(*problem_of(torch.float32), backend="auto")
    assert y.isfinite().all()
    assert "cannot be compiled or launched (out of resource: shared memory, Required: 232448" in caplog.text
