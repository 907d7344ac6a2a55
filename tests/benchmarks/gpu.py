"""Training speed of `model.fit` on a GPU against batch size, and the share of the counted roofline that it reaches.

Two networks: ``small`` is the workload of throughput.py; ``large`` has 20 id columns, 8 experts [512, 256] and bf16.
The data are on the device. The peak of the device is measured, by a large matrix product and a large copy; roofline.py
counts what a step needs. A row whose training warned says so, and one that torch.compile did not take is named "fell
back". With nothing else on the device:

    python tests/benchmarks/gpu.py

``--device cpu`` runs the same code with tiny sizes, to test it, and writes ``cpu_*.json`` instead of ``gpu_*.json``.
"""

import argparse
import sys
import warnings
from dataclasses import asdict, dataclass, replace
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from loops import Fit, build_model
from results import parser_of, write_results
from roofline import Peak, measured_peak, step_operations
from workload import Columns, Workload, make_data

from nextrec_like.data.packed import PackedData, pack
from nextrec_like.errors import InputError, InputWarning


@dataclass(frozen=True)
class Network:
    """What is trained, and how its layers compute."""

    workload: Workload
    precision: str
    dtype: torch.dtype


NETWORKS = {
    "small": Network(Workload(), "fp32", torch.float32),
    "large": Network(Workload(num_ids=20, num_experts=8, expert_dims=(512, 256)), "bf16", torch.bfloat16),
}
FIXED = {"loss_weights": [0.3, 0.7]}
VARIANTS: dict[str, dict[str, object]] = {
    "dense": {**FIXED, "embedding_optimizer": "dense"},
    "dense, jit": {**FIXED, "embedding_optimizer": "dense", "jit": True},
    "rowwise_adagrad": {**FIXED, "embedding_optimizer": "rowwise_adagrad"},
    "rowwise_adagrad, jit": {**FIXED, "embedding_optimizer": "rowwise_adagrad", "jit": True},
    "lazy_adam": {**FIXED, "embedding_optimizer": "lazy_adam"},
    "grad_norm": {"loss_weights": "grad_norm", "embedding_optimizer": "dense"},
}
"""Arguments of `compile`."""
SIZES = {
    "cuda": {"rows": 2**22, "batch_sizes": [2**n for n in range(11, 19)], "width": 8192, "copied": 2**30},
    "cpu": {"rows": 2**12, "batch_sizes": [2**9, 2**11], "width": 128, "copied": 2**20},
}


def main() -> None:
    arguments = parse()
    if arguments.device == "cuda" and not torch.cuda.is_available():
        sys.exit("There is no GPU that torch can use; run this on a machine with one, or test it with `--device cpu`.")
    torch.set_num_threads(arguments.threads)
    for name in arguments.networks:
        measure(name, arguments)


def parse() -> argparse.Namespace:
    """The command line; sizes that are not given depend on the device."""
    parser = parser_of(__doc__)
    parser.add_argument("--device", choices=list(SIZES), default="cuda")
    parser.add_argument("--networks", nargs="+", choices=list(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--rows", type=int, help="training rows")
    parser.add_argument("--batch-sizes", type=int, nargs="+")
    parser.add_argument("--epochs", type=int, default=4, help="the first one does not count")
    arguments = parser.parse_args()
    for name, value in SIZES[arguments.device].items():
        setattr(arguments, name, getattr(arguments, name, None) or value)
    return arguments


def measure(name: str, arguments: argparse.Namespace) -> None:
    """All variants and batch sizes of a network; the file is written anew after each, in case the time is cut."""
    network = NETWORKS[name]
    workload = replace(network.workload, rows=arguments.rows)
    peak = measured_peak(arguments.device, network.dtype, arguments.width, arguments.copied)
    print(f"{name}: peak {peak.flops / 1e12:.2f} TFLOP/s ({network.precision}), {peak.bandwidth / 1e9:.1f} GB/s")
    settings = asdict(workload) | {"precision": network.precision, "device": arguments.device, "peak": asdict(peak)}
    data, results = make_data(workload), []
    packed = packed_rows(data, workload)
    for variant in arguments.variants:
        for batch_size in arguments.batch_sizes:
            sized = replace(workload, batch_size=batch_size)
            row = speed(packed, sized, network, variant, arguments) | bound(data, sized, network, variant, peak)
            row["roofline_share"] = share(row)
            results.append(row)
            print(row_text(row), flush=True)
        write_results(f"{'gpu' if arguments.device == 'cuda' else 'cpu'}_{name}", settings, results, arguments.output)


def packed_rows(data: Columns, workload: Workload) -> PackedData:
    """The rows as `fit` takes them without checking them again."""
    model = build_model(workload)
    return pack(pa.table(data), model.features, model.tasks)


def speed(
    packed: PackedData, workload: Workload, network: Network, variant: str, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Samples per second of the epochs after the first, or why there are none, and what the library warned of."""
    torch.compiler.reset()  # or the sizes before this one would have it compiled for any size, or not at all
    row: dict[str, Any] = {"batch_size": workload.batch_size, "samples_per_second": None, "failed": None}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", InputWarning)
        try:
            fit = Fit(packed, workload, arguments.device, precision=network.precision, **VARIANTS[variant])
            records = fit.epochs(arguments.epochs)
            row["samples_per_second"] = median(record.samples_per_second for record in records[1:])
        except (InputError, RuntimeError) as error:  # out of memory, or a failure to compile
            row["failed"] = str(error)[:300]
    row["warnings"] = [str(each.message)[:300] for each in caught if issubclass(each.category, InputWarning)]
    fell_back = any(text.startswith("`jit` has no effect") for text in row["warnings"])
    return {"variant": f"{variant} (fell back)" if fell_back else variant} | row


def bound(data: Columns, workload: Workload, network: Network, variant: str, peak: Peak) -> dict[str, Any]:
    """What the roofline says of a step; None where a weighting does more than roofline.py counts."""
    if variant == "grad_norm":
        return {"flops": None, "bytes": None, "roofline_samples_per_second": None}
    optimizer = variant.split(",")[0]
    operations = step_operations(workload, optimizer, distinct_rows(data, workload), network.dtype.itemsize)
    return {
        "flops": sum(each.flops for each in operations),
        "bytes": sum(each.bytes for each in operations),
        "roofline_samples_per_second": workload.batch_size / peak.seconds(operations),
    }


def distinct_rows(data: Columns, workload: Workload) -> int:
    """Rows of the tables that the first batch reads."""
    return sum(len(np.unique(data[name][: workload.batch_size])) for name in workload.id_names)


def share(row: dict[str, Any]) -> float | None:
    """The share of the roofline that was reached."""
    if row["samples_per_second"] is None or row["roofline_samples_per_second"] is None:
        return None
    return row["samples_per_second"] / row["roofline_samples_per_second"]


def row_text(row: dict[str, Any]) -> str:
    """One line to print."""
    start = f"  {row['variant']:34s}{row['batch_size']:>9,}"
    if row["failed"] is not None:
        return f"{start}  failed: {row['failed']}"
    reached = "" if row["roofline_share"] is None else f"{row['roofline_share']:8.3f} of the roofline"
    warned = "".join(f"\n    {text}" for text in row["warnings"])
    return f"{start}{row['samples_per_second']:>14,.0f} samples/s{reached}{warned}"


if __name__ == "__main__":
    main()
