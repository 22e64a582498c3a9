"""gpu_monitor.csv: what the GPUs do, read through NVML in a thread; no other program is started for it."""

from collections.abc import Callable
from typing import Any

from dcrnn_fast.config.sections import Config
from dcrnn_fast.errors import UserError
from dcrnn_fast.records.monitor import Monitor
from dcrnn_fast.records.packages import require_package
from dcrnn_fast.system import MIB


class GpuMonitor(Monitor):
    """A row for every GPU that NVML shows on the host; what a GPU cannot say is an empty cell."""

    stem = "gpu_monitor"
    files = ("gpu_monitor*.csv",)
    columns = (
        "time",
        "host",
        "gpu",
        "utilisation_percent",
        "memory_used_mib",
        "memory_total_mib",
        "temperature_c",
        "power_w",
    )
    averaged = {"utilisation_percent": "gpu_utilisation_percent"}  # noqa: RUF012 (nobody changes it)
    _nvml: Any = None

    @classmethod
    def wanted(cls, config: Config) -> bool:
        return config.watch.monitor_gpu

    @classmethod
    def require(cls, config: Config) -> None:
        require_package("pynvml", "--monitor-gpu", "nvidia-ml-py")

    def open(self) -> None:
        """Raises UserError: there is no NVML, which comes with NVIDIA's driver."""
        import pynvml

        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError as error:
            raise UserError(f"--monitor-gpu: nothing to read here, NVML says {str(error)!r}") from error
        self._nvml = pynvml

    def read(self) -> list[list[object]]:
        return [self._of(number) for number in range(self._nvml.nvmlDeviceGetCount())]

    def shut(self) -> None:
        self._nvml.nvmlShutdown()

    def _of(self, number: int) -> list[object]:
        nvml = self._nvml
        gpu = self._asked(lambda: nvml.nvmlDeviceGetHandleByIndex(number))
        if gpu is None:  # it has fallen off the bus
            return [number, *[None] * 5]
        memory = self._asked(lambda: nvml.nvmlDeviceGetMemoryInfo(gpu))
        milliwatts = self._asked(lambda: nvml.nvmlDeviceGetPowerUsage(gpu))
        return [
            number,
            self._asked(lambda: nvml.nvmlDeviceGetUtilizationRates(gpu).gpu),
            None if memory is None else round(memory.used / MIB, 1),
            None if memory is None else round(memory.total / MIB, 1),
            self._asked(lambda: nvml.nvmlDeviceGetTemperature(gpu, nvml.NVML_TEMPERATURE_GPU)),
            None if milliwatts is None else milliwatts / 1000,
        ]

    def _asked(self, question: Callable[[], Any]) -> Any:
        """The answer; None: not supported, or not to be had now."""
        try:
            return question()
        except self._nvml.NVMLError:
            return None
