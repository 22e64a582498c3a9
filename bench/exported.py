"""One forecast of an exported model in ONNX Runtime, beside the same one here.

    python -m bench.exported [--batch-size 1] [--rounds 20]

METR-LA's sizes, as in ``bench.forecast_overhead``, from scaled inputs to the scaled forecast, one thread each. Both
take turns in one process; medians are printed, and how far the two are apart.
"""

import argparse
import statistics
import time

import onnxruntime
import torch

from bench.forecast_overhead import made_forecaster
from dcrnn_fast.export import exported_parts
from dcrnn_fast.interop.onnx_graph import onnx_model
from dcrnn_fast.model.dcrnn import DCRNN


@torch.inference_mode()
def main() -> None:
    """Prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=20)
    flags = parser.parse_args()
    torch.set_num_threads(1)
    forecaster = made_forecaster()
    model, raw, _ = exported_parts(forecaster)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    file = onnx_model(model, raw, {}).SerializeToString()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    assert isinstance(forecaster.model, DCRNN)
    x_BPNC = torch.randn(flags.batch_size, model.past_steps, len(forecaster.ids), model.input_channels)
    given = {"scaled_inputs": x_BPNC.numpy()}
    seconds: dict[str, list[float]] = {"ONNX Runtime": [], "here": []}
    for _ in range(flags.rounds):
        begin = time.perf_counter()
        (theirs,) = session.run(None, given)
        middle = time.perf_counter()
        ours = forecaster.model(x_BPNC)
        seconds["here"].append(time.perf_counter() - middle)
        seconds["ONNX Runtime"].append(middle - begin)
    ms = {name: statistics.median(all_seconds) * 1e3 for name, all_seconds in seconds.items()}
    apart = float((torch.from_numpy(theirs) - ours).abs().max() / ours.abs().max())
    print(
        f"{flags.batch_size} window(s): ONNX Runtime {onnxruntime.__version__} {ms['ONNX Runtime']:.1f} ms, here "
        f"{ms['here']:.1f} ms; {len(file) / 2**20:.2f} MiB; apart by {apart:.1g} of the largest value"
    )


if __name__ == "__main__":
    main()
