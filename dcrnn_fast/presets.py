"""The configurations that the package brings along, as functions: to change one, ``dataclasses.replace`` its sections.

The names of ``--config`` have hyphens: ``multi_gpu()`` is ``--config multi-gpu``.
"""

from dcrnn_fast.config.sections import Config
from dcrnn_fast.config.yaml_file import load_config


def city() -> Config:
    """The built-in city in about two minutes on two CPU cores."""
    return load_config("city")


def debug() -> Config:
    """Every part of a run in seconds."""
    return load_config("debug")


def single_gpu() -> Config:
    """One GPU: the published recipe in bf16 and as CUDA graphs."""
    return load_config("single-gpu")


def multi_gpu() -> Config:
    """Up to eight GPUs of one machine: 256 windows a step, the rate scaled with them."""
    return load_config("multi-gpu")


def multi_node() -> Config:
    """Up to 16 GPUs of several machines: 512 windows a step, the rate scaled with them."""
    return load_config("multi-node")


def cpu_nodes() -> Config:
    """Up to 16 processes on the CPUs of several machines: the published recipe."""
    return load_config("cpu-nodes")
