"""The network's variables: the user's are passed on and told; those of nccl's flight recorder are set."""

from collections.abc import Mapping, MutableMapping

_PASSED_ON = ("GLOO_", "NCCL_", "TORCH_NCCL_", "TORCH_FR_", "TORCH_DISTRIBUTED_DEBUG", "UCX_", "FI_")
_OF_TORCHRUN = (("TORCH_NCCL_ASYNC_ERROR_HANDLING", "1"),)
"""what it sets in every process"""
_RECORDER = {"TORCH_NCCL_TRACE_BUFFER_SIZE": "2000", "TORCH_NCCL_DUMP_ON_TIMEOUT": "1"}
# Newer names of the same; the library prefers them.
_ALIASES = {"TORCH_NCCL_TRACE_BUFFER_SIZE": "TORCH_FR_BUFFER_SIZE"}
_DUMPS = ("TORCH_FR_DUMP_TEMP_FILE", "TORCH_NCCL_DEBUG_INFO_TEMP_FILE")
_DUMPS_DEFAULT = "/tmp/nccl_trace_rank_"


def set_variables(environment: Mapping[str, str]) -> dict[str, str]:
    """Those of the network's variables that the user has set."""
    return {
        name: value
        for name, value in sorted(environment.items())
        if name.startswith(_PASSED_ON) and (name, value) not in _OF_TORCHRUN
    }


def record_flights(environment: MutableMapping[str, str]) -> list[str]:
    """Turns on nccl's recorder of the last collectives, unless the user has set its variables; what to say of it.

    Call it before the process group is made.
    """
    own = {
        name: value
        for name, value in _RECORDER.items()
        if name not in environment and _ALIASES.get(name, name) not in environment
    }
    environment.update(own)
    if not own:
        return []
    file = next((environment[name] for name in _DUMPS if name in environment), _DUMPS_DEFAULT)
    set_here = ", ".join(f"{name}={value}" for name, value in own.items())
    return [f"nccl's flight recorder: {set_here}; after a timeout each rank leaves its last collectives in {file}RANK"]
