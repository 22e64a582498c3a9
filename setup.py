"""Where the packages lie: ``kernels/`` is installed as ``dcrnn_fast.kernels``. Everything else is in pyproject.toml."""

from setuptools import find_packages, setup

KERNELS = ["dcrnn_fast.kernels", *(f"dcrnn_fast.kernels.{name}" for name in find_packages("kernels"))]

setup(
    packages=[*find_packages(include=["dcrnn_fast", "dcrnn_fast.*"]), *KERNELS],
    package_dir={"dcrnn_fast": "dcrnn_fast", "dcrnn_fast.kernels": "kernels"},
    package_data={
        "dcrnn_fast": ["py.typed"],
        "dcrnn_fast.config": ["presets/*.yaml"],
        "dcrnn_fast.kernels": ["py.typed"],
    },
)
