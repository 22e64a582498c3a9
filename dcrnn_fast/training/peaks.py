"""What known GPUs can do at most, from their makers' data sheets: dense products, without sparsity."""

_TFLOPS = {
    # name: (float32 outside the tensor cores, bfloat16 and float16 in them; None: no bfloat16)
    "Tesla V100-SXM2": (15.7, None),
    "Tesla T4": (8.1, None),
    "NVIDIA A10": (31.2, 125.0),
    "NVIDIA A40": (37.4, 149.7),
    "NVIDIA A100": (19.5, 312.0),
    "NVIDIA L4": (30.3, 121.0),
    "NVIDIA L40S": (91.6, 362.0),
    "NVIDIA H100 80GB HBM3": (66.9, 989.4),
    "NVIDIA H100 PCIe": (51.2, 756.0),
    "NVIDIA H200": (66.9, 989.4),
}


def known_peak(device: str, precision: str) -> float | None:
    """Operations a second of the device in this precision; None: not in the table."""
    found = [name for name in _TFLOPS if device == name or device.startswith((f"{name} ", f"{name}-"))]
    if not found:
        return None
    single, half = _TFLOPS[max(found, key=len)]
    tflops = single if precision in ("fp32", "bf16x3") else half
    return None if tflops is None else 1e12 * tflops
