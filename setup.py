"""The packages' folders, and the build of the compiled kernels. Everything else is in pyproject.toml.

``kernels/`` is installed as ``dcrnn_fast.kernels``, and the scripts of ``slurm/`` in ``dcrnn_fast/slurm``. The kernels
become ``_dcrnn_fast_C``, a top-level module, so that a run from the repository's root, where ``./dcrnn_fast`` hides the
installed package, finds them too. Without a C++ compiler or without torch in the building environment the install
still works, on plain PyTorch: one line says so, and
``_dcrnn_fast_C.json``, in the module's folder, has the reason. A unit whose flags the compiler does not know is left
out, which the build facts record. ``csrc/cuda/build.py`` adds the CUDA kernels if nvcc is found.

``DCRNN_FAST_BUILD=emulated-amx`` builds the AMX units on AMX in plain C++ (tests/emulation/amx.h), for tests on a CPU
without it: `python setup.py build_ext --build-lib FOLDER --build-temp FOLDER`, never into the source tree.
"""

import json
import os
import platform
import runpy
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

KERNELS = ["dcrnn_fast.kernels", *(f"dcrnn_fast.kernels.{name}" for name in find_packages("kernels"))]
_SUBFOLDERS = sorted(path.name for path in Path("slurm").glob("[a-z]*") if path.is_dir())
SCRIPTS = ["dcrnn_fast.slurm", *(f"dcrnn_fast.slurm.{name}" for name in _SUBFOLDERS)]
MODULE = "_dcrnn_fast_C"
# One build serves this version of torch and newer ones: only its stable ABI is used.
TORCH_TARGET = "2.13"
TORCH_TARGET_MACRO = "0x020d000000000000"
FLAGS = ["-std=c++20", "-O3", "-fno-math-errno", "-fvisibility=hidden", "-Wall", "-Wextra"]
# For example "address,undefined": such a module opens only in a process that has the sanitizers' library preloaded.
SANITIZE = os.environ.get("DCRNN_FAST_SANITIZE", "")
if SANITIZE:
    FLAGS += [f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g", "-O1"]
_AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma"]
X86_UNITS = {
    "unit_avx2.cpp": ["-mavx2", "-mfma"],
    "unit_avx512.cpp": _AVX512,
    "unit_avx512_bf16.cpp": [*_AVX512, "-mavx512bf16"],
    "unit_amx.cpp": (_AMX := [*_AVX512, "-mavx512bf16", "-mamx-tile", "-mamx-bf16"]),
    "unit_amx_bf16x3.cpp": _AMX,
}


EMULATED_AMX = ["-include", "tests/emulation/amx.h"]


def sources() -> list[str]:
    """The C++ sources that are compiled on this machine."""
    x86 = platform.machine() in ("x86_64", "AMD64")
    found = sorted(path.as_posix() for path in Path("csrc").glob("*/*.cpp") if not path.name.startswith("cuda_"))
    return [name for name in found if x86 or Path(name).name not in X86_UNITS]


def emulates_amx() -> bool:
    """Whether DCRNN_FAST_BUILD asks for the build that tests the AMX units without AMX."""
    wanted = os.environ.get("DCRNN_FAST_BUILD", "")
    if wanted not in ("", "emulated-amx"):
        raise SystemExit(f"DCRNN_FAST_BUILD is {wanted!r}, wanted nothing or 'emulated-amx'")
    return wanted != ""


def flags_of(source: str) -> list[str]:
    """The flags of a source beside FLAGS."""
    flags = X86_UNITS.get(Path(source).name, [])
    if emulates_amx() and "-mamx-tile" in flags:
        return [*(flag for flag in flags if not flag.startswith("-mamx")), *EMULATED_AMX]
    return flags


def unknown_flags(compiler: str, source: str) -> str | None:
    """The compiler's complaint about flags of a source that it does not know, or None."""
    flags = X86_UNITS.get(Path(source).name, [])
    if not flags:
        return None
    command = [compiler, *flags_of(source), "-E", "-x", "c++", "-o", os.devnull, os.devnull]
    said = subprocess.run(command, capture_output=True, text=True)
    return None if said.returncode == 0 else (said.stderr.splitlines() or ["no reason given"])[0]


def _unit(source: str) -> str:
    return Path(source).stem.removeprefix("unit_")


class BuildKernels(build_ext):
    """Compiles every source with the flags of its instruction set, or records why nothing was compiled."""

    def run(self) -> None:
        facts: dict[str, Any] = {"package": self.distribution.get_version(), "torch_target": TORCH_TARGET}
        reason = self._why_not()
        if reason is None:
            facts |= self._settings() | self._cuda()
            facts["sources"] = runpy.run_path("kernels/source_digest.py")["source_digest"](Path("csrc"))
            super().run()
        else:
            facts["reason"] = reason
            print(f"{self.distribution.get_name()}: the compiled CPU kernels are not built: {reason}", flush=True)
        # Beside the module, and only after it: a build that failed leaves no facts that claim it.
        beside = Path(self.get_ext_fullpath(MODULE)).parent
        beside.mkdir(parents=True, exist_ok=True)
        (beside / f"{MODULE}.json").write_text(json.dumps(facts, indent=2) + "\n")

    def _why_not(self) -> str | None:
        if not sources():
            return "the sources have no csrc/"
        if find_spec("torch") is None:
            return "the building environment has no torch (install with --no-build-isolation)"
        from torch.utils.cpp_extension import get_cxx_compiler

        if shutil.which(get_cxx_compiler()) is None:
            return f"there is no C++ compiler ({get_cxx_compiler()}; set CXX to name one)"
        return None

    def _settings(self) -> dict[str, Any]:
        import torch
        from torch.utils.cpp_extension import get_cxx_compiler, include_paths, library_paths

        (extension,) = self.extensions
        extension.include_dirs = ["."]
        # System headers: our warnings are not for them.
        extension.extra_compile_args = [flag for path in include_paths() for flag in ("-isystem", path)]
        extension.library_dirs = library_paths()
        extension.libraries = ["c10", "torch_cpu"]
        extension.define_macros = [("TORCH_TARGET_VERSION", TORCH_TARGET_MACRO)]
        compiler = get_cxx_compiler()
        said = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
        left_out = {name: why for name in extension.sources if (why := unknown_flags(compiler, name)) is not None}
        extension.sources = [name for name in extension.sources if name not in left_out]
        units = [_unit(name) for name in extension.sources if "/unit_" in name]
        extension.define_macros += [(f"DCRNN_UNIT_{unit.upper()}", "1") for unit in units]
        if emulates_amx():
            if self.inplace:
                raise SystemExit("DCRNN_FAST_BUILD=emulated-amx: not into the source tree; give --build-lib FOLDER")
            extension.define_macros.append(("DCRNN_EMULATED_AMX", "1"))
        return {
            "torch": torch.__version__,
            "compiler": said.splitlines()[0],
            **({"sanitize": SANITIZE} if SANITIZE else {}),
            "units": units,
            "units_left_out": {_unit(name): why for name, why in left_out.items()},
            "amx_emulated": emulates_amx(),
        }

    def _cuda(self) -> dict[str, Any]:
        from torch.utils.cpp_extension import get_cxx_compiler

        built = runpy.run_path("csrc/cuda/build.py")["build"](get_cxx_compiler(), Path(self.build_temp))
        (extension,) = self.extensions
        extension.sources += built.wrappers
        extension.extra_objects = built.objects
        extension.libraries += built.libraries
        extension.library_dirs += built.library_dirs
        facts: dict[str, Any] = built.facts
        if "no_cuda" in facts:
            print(f"{self.distribution.get_name()}: the CUDA kernels are not built: {facts['no_cuda']}", flush=True)
        return facts

    def build_extension(self, extension: Extension) -> None:
        from torch.utils.cpp_extension import get_cxx_compiler

        compiler = get_cxx_compiler()
        self.compiler.set_executables(
            compiler_so=[compiler, "-fPIC"], compiler_so_cxx=[compiler, "-fPIC"],
            linker_so=[compiler, "-shared"], linker_so_cxx=[compiler, "-shared"],
        )  # fmt: skip

        def compiled(source: str) -> list[str]:
            return self.compiler.compile(
                [source],
                output_dir=self.build_temp,
                macros=extension.define_macros,
                include_dirs=extension.include_dirs,
                extra_postargs=[*FLAGS, *extension.extra_compile_args, *flags_of(source)],
                depends=extension.depends,
            )

        with ThreadPoolExecutor(os.cpu_count()) as compilers:
            objects = [made for one in compilers.map(compiled, extension.sources) for made in one]
        self.compiler.link_shared_object(
            [*objects, *extension.extra_objects],
            self.get_ext_fullpath(extension.name),
            libraries=extension.libraries,
            library_dirs=extension.library_dirs,
            extra_postargs=[f"-fsanitize={SANITIZE}"] if SANITIZE else [],
            build_temp=self.build_temp,
            target_lang="c++",
        )


setup(
    packages=[*find_packages(include=["dcrnn_fast", "dcrnn_fast.*"]), *KERNELS, *SCRIPTS],
    package_dir={"dcrnn_fast": "dcrnn_fast", "dcrnn_fast.kernels": "kernels", "dcrnn_fast.slurm": "slurm"},
    package_data={
        "dcrnn_fast": ["py.typed"],
        "dcrnn_fast.drawing": ["style.css"],
        "dcrnn_fast.config": ["presets/*.yaml"],
        "dcrnn_fast.kernels": ["py.typed"],
        **{key: ["*.sh", "*.sbatch", "*.txt", "*.def", "Dockerfile"] for key in SCRIPTS},
    },
    ext_modules=[Extension(MODULE, sources(), depends=[path.as_posix() for path in Path("csrc").glob("*/*.h")])],
    cmdclass={"build_ext": BuildKernels},
)
