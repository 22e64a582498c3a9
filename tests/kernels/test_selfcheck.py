"""The check on first use, with kernels that are right, wrong, and wrong only in a gradient."""

import json
import logging
import subprocess
import threading
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from triton.runtime.errors import OutOfResources

from dcrnn_fast.kernels import diffusion_conv, selfcheck
from dcrnn_fast.kernels.diffusion_conv import function
from dcrnn_fast.kernels.diffusion_conv.manual import diffusion_conv_manual
from dcrnn_fast.kernels.diffusion_conv.specification import diffusion_conv_specification
from dcrnn_fast.kernels.dispatch import Implementation, always, choose
from dcrnn_fast.kernels.gpu import devices
from dcrnn_fast.kernels.gpu.plan import plan_name
from dcrnn_fast.kernels.gpu.words import override
from dcrnn_fast.kernels.selfcheck import kept, ways

pytestmark = pytest.mark.gpu_kernels

CPU = torch.device("cpu")
NODES = ways._N
WAYS_OF_CONVOLUTION = ways.ways_of("diffusion_conv", "triton")
# Calls of one check of an operator: one in each way.
CHECK = len(WAYS_OF_CONVOLUTION)
PLANS = len({ways.plan_taken(way, CPU, torch.float32) for way in WAYS_OF_CONVOLUTION})


@pytest.fixture(autouse=True)
def cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(kept.CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr(selfcheck, "CHECKED_DEVICES", ("cpu",))
    selfcheck._verdict.cache_clear()
    yield tmp_path / "cache"
    torch.backends.cuda.matmul.fp32_precision = "none"


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
    terms = ways.made_terms(ways.made_operators().float())
    x, weight, bias = (
        tensor.to(dtype) for tensor in ways.made_arguments(ways.CASES["diffusion_conv"].shapes(NODES, 0))
    )
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
    assert len(calls) == CHECK + 1
    diffusion_conv(*problem_of(dtype), backend="triton")
    selfcheck._verdict.cache_clear()  # as a new process
    diffusion_conv(*problem_of(dtype), backend="triton")
    assert len(calls) == CHECK + 3, "the verdict was kept on disk"
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
    assert len(calls) == PLANS, "the first way of each plan was enough"
    assert sum("it is not used" in record.message for record in caplog.records) == 1
    with pytest.raises(NotImplementedError, match=r"triton: its self-check failed on this GPU: .* is off by"):
        diffusion_conv(x, terms, weight, bias, backend="triton")
    selfcheck._verdict.cache_clear()
    diffusion_conv(x, terms, weight, bias)
    assert len(calls) == PLANS, "the verdict was kept on disk"


@pytest.mark.parametrize("way", WAYS_OF_CONVOLUTION, ids=str)
def test_a_kernel_that_is_wrong_in_one_way_alone_is_found(install, way: ways.Way) -> None:
    """By its plan, the graph's size, and whether x wants a gradient."""

    def run(x, terms, weight, bias):
        here = ways.Way(override(), x.requires_grad, terms.num_nodes)
        return (wrong_in_one_row if here == way else diffusion_conv_manual)(x, terms, weight, bias)

    install(run)
    problem = selfcheck._check("diffusion_conv", "triton", CPU, torch.float32).problem
    assert "is off by" in problem
    assert problem.endswith(f"({way})")


def test_a_plan_that_is_wrong_is_refused_and_the_others_run(install, monkeypatch, caplog) -> None:
    caplog.set_level(logging.WARNING, "dcrnn_fast.kernels")
    calls = install(lambda *a: (wrong_in_one_row if "dense" in override() else diffusion_conv_manual)(*a))
    x, terms, weight, bias = problem_of(torch.float32)
    right = diffusion_conv_specification(x, terms, weight, bias)
    torch.testing.assert_close(diffusion_conv(x, terms, weight, bias, backend="triton"), right, rtol=1e-4, atol=1e-4)
    assert "it is not used by plan dense (" in caplog.text
    # By rule, this larger graph is diffused by a dense matrix.
    larger = ways.made_terms(ways.made_operators(ways._CHUNKED_N).float())
    x2 = x.repeat(1, 2, 1)
    before = len(calls)
    with pytest.raises(NotImplementedError, match=r"is off by .* \(dense,hoist, "):
        diffusion_conv(x2, larger, weight, bias, backend="triton")
    diffusion_conv(x2, larger, weight, bias)
    assert len(calls) == before
    with pytest.raises(NotImplementedError, match=r"is off by .* \(dense,hoist, "):
        choose("diffusion_conv", function.IMPLEMENTATIONS, "triton", x)


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
    assert len(calls) == 2 * (CHECK + 1)
    assert json.loads(file.read_text())["problems"] == {}
    assert "is made again" in caplog.text


def test_a_cache_that_cannot_be_written_is_said_and_does_not_stop_anything(
    install, monkeypatch, tmp_path, caplog
) -> None:
    caplog.set_level(logging.WARNING, "dcrnn_fast.kernels")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(kept.CACHE_VARIABLE, str(tmp_path / "file" / "inside"))
    calls = install(diffusion_conv_manual)
    diffusion_conv(*problem_of(torch.float32))
    assert len(calls) == CHECK + 1
    assert "cannot be kept" in caplog.text


def test_the_verdict_holds_for_what_it_was_made_with(install, monkeypatch, tmp_path: Path) -> None:
    calls = install(diffusion_conv_manual)

    def checked_anew(dtype: torch.dtype = torch.float32) -> bool:
        before = len(calls)
        selfcheck._verdict.cache_clear()  # as a new process
        diffusion_conv(*problem_of(dtype))
        return len(calls) > before + 1

    assert checked_anew()
    assert not checked_anew()
    assert checked_anew(torch.bfloat16)
    for name, value in (("__version__", "9"), ("_sources", lambda: "other")):
        monkeypatch.setattr(kept, name, value)
        assert checked_anew()
    assembler = tmp_path / "ptxas"
    for variable, text in (("DCRNN_FAST_TRITON", "gather"), ("TRITON_PTXAS_PATH", str(assembler))):
        monkeypatch.setenv(variable, text)
        assert checked_anew()
    for version in ("12.8", "13.1.1"):
        assembler.write_text(version)
        assert checked_anew()
        assert not checked_anew()
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    assert checked_anew(), "tf32 is other arithmetic than tf32x3"
    assert not checked_anew()


def test_on_a_gpu_it_holds_for_the_device_its_driver_and_torch(monkeypatch, tmp_path) -> None:
    properties = SimpleNamespace(name="NVIDIA H100 80GB HBM3", major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)

    def key() -> str:
        return kept.key_of("diffusion_conv", "triton", torch.device("cuda", 0), torch.bfloat16)

    keys = [key()]
    file = tmp_path / "version"
    monkeypatch.setattr(kept, "driver_version", lambda: devices.driver_version(file))
    for version in ("580.65.06", "580.82.07"):
        file.write_text(f"NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}\nGCC version:  gcc\n")
        keys.append(key())
    properties.name = "NVIDIA H200"
    keys.append(key())
    monkeypatch.setattr(torch, "__version__", "9.9.9")
    keys.append(key())
    assert len(set(keys)) == 5
    assert key() == keys[-1]


def test_the_drivers_version_is_its_first_line(tmp_path: Path, monkeypatch) -> None:
    file = tmp_path / "version"
    assert devices.driver_version(file) is None
    monkeypatch.setattr(torch._C, "_cuda_getDriverVersion", lambda: 13010, raising=False)
    assert devices.driver_version(file) == "CUDA 13.1", "as under WSL"
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.82.07 \nGCC version:  gcc\n")
    assert devices.driver_version(file) == "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.82.07"


def test_triton_may_be_installed_under_another_name(install, monkeypatch, caplog) -> None:
    """As in images of GPU vendors: what is imported has no metadata."""

    def hidden(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", hidden)
    calls = install(diffusion_conv_manual)
    diffusion_conv(*problem_of(torch.float32), backend="triton")
    assert len(calls) == CHECK + 1


def test_a_parameter_is_checked_like_any_tensor_and_a_fake_one_is_not(install) -> None:
    install(wrong_in_one_row)
    x, *rest = problem_of(torch.float32)
    with FakeTensorMode() as mode:
        assert selfcheck.failure("diffusion_conv", "triton", mode.from_tensor(x), lambda: "tile") is None
    with pytest.raises(NotImplementedError, match="its self-check failed"):
        diffusion_conv(torch.nn.Parameter(x), *rest, backend="triton")


def test_it_runs_where_no_gradient_is_recorded(install, caplog) -> None:
    """``dcrnn-fast evaluate`` calls the model first under inference_mode."""
    calls = install(diffusion_conv_manual)
    with torch.inference_mode():
        diffusion_conv(*problem_of(torch.float32))
    assert len(calls) == CHECK + 1
    assert not caplog.records


def test_a_compiled_program_passes_over_a_wrong_kernel(install) -> None:
    calls = install(wrong_in_one_row)
    x, terms, weight, bias = problem_of(torch.float32)
    got = torch.compile(diffusion_conv, fullgraph=True, backend="eager")(x, terms, weight, bias)
    torch.testing.assert_close(got, diffusion_conv_specification(x, terms, weight, bias))
    assert len(calls) == PLANS


def test_a_capture_is_not_the_place_for_it(install, monkeypatch) -> None:
    calls = install(diffusion_conv_manual)
    monkeypatch.setattr(selfcheck, "_capturing", lambda device: True)
    with pytest.raises(RuntimeError, match=r"triton must be checked on this GPU first.* before it is captured"):
        diffusion_conv(*problem_of(torch.float32))
    assert not calls
    monkeypatch.setattr(selfcheck, "_capturing", lambda device: False)
    diffusion_conv(*problem_of(torch.float32))
    monkeypatch.setattr(selfcheck, "_capturing", lambda device: True)
    diffusion_conv(*problem_of(torch.float32))
    assert len(calls) == CHECK + 2


@pytest.mark.parametrize("how", ["word", "PyTorch"])
def test_tf32_is_held_to_its_own_rounding(install, monkeypatch, how: str) -> None:
    """A GPU's tf32 rounds factors to 10 bits, which plain PyTorch may not do."""
    if how == "word":
        monkeypatch.setenv("DCRNN_FAST_TRITON", "tf32")
    else:
        torch.backends.cuda.matmul.fp32_precision = "tf32"

    def to_10_bits(tensor: torch.Tensor) -> torch.Tensor:
        rounded = ((tensor.detach().view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32)
        return tensor + (rounded - tensor).detach()

    install(lambda x, terms, weight, bias: diffusion_conv_manual(to_10_bits(x), terms, to_10_bits(weight), bias))
    assert selfcheck._check("diffusion_conv", "triton", CPU, torch.float32).problem == ""
    install(wrong_in_one_row)
    assert "is off by" in selfcheck._check("diffusion_conv", "triton", CPU, torch.float32).problem


def test_without_a_gpu_it_says_so_in_a_line() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(NotImplementedError, match=r"^there is no GPU to check on: "):
        selfcheck.selfcheck()
    with pytest.raises(NotImplementedError, match=r"x is on the CPU"):
        selfcheck.selfcheck("cpu", backends=["triton"])


@pytest.mark.parametrize("backend", ["manual", "cpu"])
@pytest.mark.parametrize("operator", list(ways.CASES))
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_right_backends_pass(operator: str, backend: str, dtype: torch.dtype) -> None:
    assert selfcheck._check(operator, backend, CPU, dtype).problem == ""


# What is raised, what is said of it, and whether it says something about the kernel.
REFUSALS = [
    pytest.param(
        OutOfResources(232448, 101376, "shared memory"), "out of resource: shared memory, Required: 232448", True,
        id="memory",
    ),
    pytest.param(RuntimeError("Triton Error [CUDA]: device kernel image is invalid"), "is invalid", True, id="driver"),
    pytest.param(torch.AcceleratorError("CUDA error: misaligned address"), "misaligned address", True, id="fault"),
    pytest.param(RuntimeError("Triton Error [CUDA]: out of memory"), "out of memory", False, id="no_memory"),
    pytest.param(RuntimeError("the launch failed: driver version is insufficient"), "is insuff", False, id="runtime"),
    pytest.param(RuntimeError("Failed to find C compiler."), "Failed to find C compiler", False, id="no_compiler"),
    pytest.param(subprocess.CalledProcessError(1, ["gcc"]), "returned non-zero exit status 1", False, id="no_python_h"),
    pytest.param(FileNotFoundError("ptxas"), "ptxas", False, id="no_assembler"),
    pytest.param(OSError(28, "No space left on device"), "No space left on device", False, id="full_disk"),
    pytest.param(RuntimeError(), "RuntimeError", False, id="no_words"),
]  # fmt: skip


@pytest.mark.parametrize("plan", ["tile", "dense"])
def test_after_a_fault_of_the_device_nothing_more_is_run_and_the_verdict_is_kept(install, caplog, plan: str) -> None:
    """Whatever runs after an illegal access raises it again, PyTorch's own operators too."""
    faulted: list[str] = []

    def faulty(x, terms, weight, bias):
        if faulted or plan_name(terms, x.dtype, x.shape[0], x.shape[2], 64) == plan:
            faulted.append(override())
            raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")
        return diffusion_conv_manual(x, terms, weight, bias)

    install(faulty)
    verdict = selfcheck._check("diffusion_conv", "triton", CPU, torch.float32)
    assert len(faulted) == 1
    assert verdict.lasting
    assert "illegal memory access" in verdict.problems.pop(plan)
    assert all("not checked, after a fault" in text for text in verdict.problems.values())
    assert ("tile" in verdict.problems) is False
    assert {"gather", "chain", "gemm,gather", "gemm,chain"} <= set(verdict.problems)


def test_a_plan_is_called_what_it_is(monkeypatch) -> None:
    """Strict float32 is never fused, whatever a way asks for."""
    names = [ways.plan_taken(way, CPU, torch.float32) for way in WAYS_OF_CONVOLUTION]
    assert names == ["tile"] * 2 + ["tile,chunks"] * 2 + ["dense", "gather", "chain", "gemm,gather", "gemm,chain"]
    monkeypatch.setenv("DCRNN_FAST_TRITON", "strict")
    strict = {ways.plan_taken(way, CPU, torch.float32) for way in WAYS_OF_CONVOLUTION}
    assert strict == {"gemm,gather", "gemm,chain"}


def test_threads_wait_for_one_check_and_keep_their_own_words(install, monkeypatch) -> None:
    seen: list[tuple[int, str]] = []
    arrived, both = [], threading.Event()

    class Gate:
        """The check's lock; it lets nobody through before both threads have asked."""

        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __enter__(self) -> None:
            arrived.append(threading.get_ident())
            if len(arrived) == 2:
                both.set()
            assert both.wait(60)
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()

    def noted(*arguments: object) -> object:
        seen.append((threading.get_ident(), override()))
        return diffusion_conv_manual(*arguments)  # type: ignore[arg-type]

    install(noted)
    monkeypatch.setattr(selfcheck, "_one_at_a_time", Gate())
    threads = [threading.Thread(target=lambda: diffusion_conv(*problem_of(torch.float32))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    by_thread = [[words for ident, words in seen if ident == thread.ident] for thread in threads]
    assert sorted(map(len, by_thread)) == [1, CHECK + 1]
    assert [words[-1] for words in by_thread] == ["", ""]


@pytest.mark.parametrize(("error", "said", "lasting"), REFUSALS)
def test_a_kernel_that_is_refused_is_passed_over(install, caplog, error: Exception, said: str, lasting: bool) -> None:
    """In this process; in the next one only what its compiler or the device said of the kernel itself."""
    failing = [True]

    def refused(*arguments: object) -> object:
        if failing[0]:
            raise error
        return diffusion_conv_manual(*arguments)  # type: ignore[arg-type]

    calls, tries = install(refused), 1 if isinstance(error, torch.AcceleratorError) else PLANS
    for _ in range(2):
        assert diffusion_conv(*problem_of(torch.float32), backend="auto").isfinite().all()
    assert len(calls) == tries
    assert "cannot be compiled or launched (" in caplog.text
    assert said in caplog.text
    assert "dcrnn_fast.selfcheck() checks anew" in caplog.text
    failing[0] = False
    selfcheck._verdict.cache_clear()  # as a new process
    diffusion_conv(*problem_of(torch.float32), backend="auto")
    assert len(calls) == (tries if lasting else tries + CHECK + 1)


def test_no_memory_is_no_verdict(install, cache_folder: Path) -> None:
    def full(*arguments: object) -> object:
        raise torch.OutOfMemoryError("CUDA out of memory")

    install(full)
    with pytest.raises(torch.OutOfMemoryError):
        diffusion_conv(*problem_of(torch.float32), backend="auto")
    assert not cache_folder.exists()
