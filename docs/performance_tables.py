"""The tables of docs/performance.md, each made of the results of one benchmark."""

from collections.abc import Callable
from typing import Any

from performance_targets import TARGETS

TARGET_HEADER = ["what", "target", "measured", ""]


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def throughput(rows: list[dict[str, Any]]) -> str:
    """Each loop, and what it is compared with."""
    cells = [
        [row["loop"], f"{row['samples_per_second']:,.0f}", number(row["ratio"], 2), row["reference"] or ""]
        for row in rows
    ]
    return table(["loop", "samples/s", "ratio", "to"], cells)


def step_profile(rows: list[dict[str, Any]]) -> str:
    """A row per kind of operation, a column per loop."""
    loops = list(dict.fromkeys(row["loop"] for row in rows))
    found = {(row["kind"], row["loop"]): row for row in rows}
    kinds = dict.fromkeys(row["kind"] for row in rows)
    cells = [[kind, *(step_cell(found[kind, loop]) for loop in loops)] for kind in kinds]
    sums = [sum(row["microseconds"] for row in rows if row["loop"] == loop) for loop in loops]
    cells.append(["all", *(f"{total:,.0f}" for total in sums)])
    return table(["microseconds a step (calls)", *loops], cells)


def step_cell(row: dict[str, Any]) -> str:
    """Time and calls."""
    return f"{row['microseconds']:,.0f}" + (f" ({row['calls']:,.0f})" if row["calls"] else "")


def peers(rows: list[dict[str, Any]]) -> str:
    """Each program, and how many times as fast this library is."""
    cells = [
        [
            f"{row['program']} {row['version']}",
            f"{row['parameters']:,}",
            f"{row['samples_per_second']:,.0f}",
            f"{row['epoch_samples_per_second']:,.0f}",
            *(["", ""] if row["target"] is None else [number(row["ratio"], 1), number(row["epoch_ratio"], 1)]),
        ]
        for row in rows
    ]
    header = ["program", "parameters", "samples/s, whole call", "in the epoch alone", "we are faster by", "epoch alone"]
    return table(header, cells)


def vocabulary(rows: list[dict[str, Any]]) -> str:
    """A row per size, a column per embedding optimizer."""
    names = list(dict.fromkeys(row["embedding_optimizer"] for row in rows))
    sizes = list(dict.fromkeys(row["vocabulary"] for row in rows))
    found = {(row["vocabulary"], row["embedding_optimizer"]): row for row in rows}
    cells = [[f"{size:,}", *(vocabulary_cell(found.get((size, name))) for name in names)] for size in sizes]
    left_out = [
        f"{row['vocabulary']:,}, {row['embedding_optimizer']}: {row['left_out']}." for row in rows if row["left_out"]
    ]
    header = ["rows per table", *(f"`{name}`: samples/s, GB" for name in names)]
    return "\n".join([table(header, cells), *(f"* {line}" for line in left_out), *([""] if left_out else [])])


def vocabulary_cell(row: dict[str, Any] | None) -> str:
    """Speed and memory."""
    if row is None or row["left_out"] is not None:
        return "-"
    return f"{row['samples_per_second']:,.0f}, {row['peak_memory'] / 1e9:.2f}"


def streaming(rows: list[dict[str, Any]]) -> str:
    """A row per number of rows and way of reading."""
    cells = [
        [
            f"{row['rows']:,}",
            row["way"],
            f"{row['rows_per_second']:,.0f}",
            f"{row['fit_rows_per_second']:,.0f}",
            number(row["ratio"], 2),
            f"{row['peak_memory'] / 1e9:.2f}",
        ]
        for row in rows
    ]
    return table(["rows", "way", "rows/s in the epoch", "in all of `fit`", "of memory", "peak memory, GB"], cells)


def gpu(rows: list[dict[str, Any]]) -> str:
    """A row per variant and batch size; counted operations and bytes are those of a step."""
    cells = [
        [
            row["variant"],
            f"{row['batch_size']:,}",
            number(row["samples_per_second"], 0) or "failed",
            number(row["roofline_share"], 2),
            number(row["flops"], 2, 1e9),
            number(row["bytes"], 2, 1e9),
        ]
        for row in rows
    ]
    return table(["variant", "batch", "samples/s", "of the roofline", "GFLOP a step", "GB a step"], cells)


def processor_peer(rows: list[dict[str, Any]]) -> str:
    """Each program, and how many times as fast this library is, for both ways of the peer to transform."""
    cells = [
        [
            row["program"],
            *(number(row.get(step), 2) for step in ("fit", "transform", "transform_frame")),
            number(row["ratio"], 1),
            number(row["frame_ratio"], 1),
        ]
        for row in rows
    ]
    header = ["program", "fit, s", "transform, s", "to a data frame, s", "we are faster by", "to a data frame"]
    return table(header, cells)


def metrics(rows: list[dict[str, Any]]) -> str:
    """Seconds of functions of all rows at once; then rows of the accumulator, with its error and the bound of it."""
    functions = [row for row in rows if row["case"] == "functions"]
    names = list(dict.fromkeys(name for row in functions for name in row["seconds"]))
    header = ["seconds", *(f"{row['rows']:,} rows, {row['groups']:,} groups" for row in functions)]
    first = table(header, [[name, *(number(row["seconds"][name], 3) for row in functions)] for name in names])
    cells = [
        [
            f"{row['rows']:,}",
            f"{row['rows_per_second'] / 1e6:.1f}",
            number(row["peak_memory"], 2, 1e9),
            *(stream_cell(row, name) for name in ("auc", "gauc")),
        ]
        for row in rows
        if row["case"] == "stream"
    ]
    header = ["rows of a stream", "M rows/s", "peak memory, GB", "AUC: error, bound", "GAUC: error, bound"]
    return f"{first}\n{table(header, cells)}"


def stream_cell(row: dict[str, Any], name: str) -> str:
    """The error of a metric, where the exact value was computed too, and the bound that the result states."""
    error = "not computed" if row["errors"] is None else f"{row['errors'][name]:.1e}"
    return f"{error}, {row['error_bounds'].get(name, 0):.1e}"


def embedding_quality(rows: list[dict[str, Any]]) -> str:
    """A row per data set and optimizer, with all tasks in one cell, as data sets differ in them."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["data"], row["optimizer"]), []).append(row)
    cells = [
        [data, f"`{optimizer}`", f"{own[0]['table_lr'] or own[0]['lr']:g}", "; ".join(map(quality_cell, own))]
        for (data, optimizer), own in found.items()
    ]
    return table(["data", "tables", "learning rate", "test AUC, and its difference to dense Adam"], cells)


def quality_cell(row: dict[str, Any]) -> str:
    """AUC of a task and, but for the reference, the paired difference with its 95 % interval."""
    if row["difference"] is None:
        return f"{row['task']} {row['auc']:.4f}"
    return f"{row['task']} {row['auc']:.4f} ({row['difference']:+.4f} ± {row['half_width']:.4f})"


def _profile(rows: list[dict[str, Any]]) -> str:
    """Milliseconds of a step by what is done."""
    found = [row for row in rows if row["case"] == "profile"]
    if not found:
        return ""
    lines = [[row["group"], *(number(each, 1) for each in row["parts"].values())] for row in found]
    return table([f"ms of a step, `{found[0]['training']}`", *found[0]["parts"]], lines)


def scaling(rows: list[dict[str, Any]]) -> str:
    """The targets; speed of two processes beside one; bytes of a step, by number of processes and batch size."""
    judged = [target.row({"scaling": {"results": rows}}) for target in TARGETS if target.benchmark == "scaling"]
    speeds = [
        [
            f"`{row['training']}`" if "_" in row["training"] else row["training"],
            f"{row['alone']:,.0f}",
            f"{row['together']:,.0f}",
            number(row["speedup"], 2),
            number(row["apart"], 2),
            f"{row['in_messages']:.0%}",
        ]
        for row in rows
        if row["case"] == "speed"
    ]
    header = ["training", "one process, samples/s", "two", "ratio", "ratio of two that train apart", "in messages"]
    first = f"{table(TARGET_HEADER, judged)}\n{table(header, speeds)}\n{_profile(rows)}"
    sent = [
        [
            str(row["processes"]),
            f"{row['batch_size']:,}",
            f"{row['distinct_rows']:,.0f}",
            *(number(row[name], 2, 1e6) for name in ("lower_bound", "rows_sent", "sent", "loopback")),
            number(row["of_lower_bound"], 2),
            number(row["whole_tables"], 0, 1e6),
        ]
        for row in rows
        if row["case"] == "bytes"
    ]
    header = ["processes", "batch", "distinct rows", "lower bound, MB", "of rows", "all", "through the interface"]
    return f"{first}\n{table([*header, 'all to the lower bound', 'whole tables, MB'], sent)}"


def number(value: float | None, digits: int, unit: float = 1) -> str:
    """The value in a unit; empty where there is none."""
    return "" if value is None else f"{value / unit:,.{digits}f}"


TABLES: dict[str, Callable[[list[dict[str, Any]]], str]] = {
    "throughput": throughput,
    "step_profile": step_profile,
    "peers": peers,
    "vocabulary": vocabulary,
    "embedding_quality": embedding_quality,
    "streaming": streaming,
    "processor_peer": processor_peer,
    "metrics": metrics,
    "gpu_small": gpu,
    "gpu_large": gpu,
    "scaling": scaling,
}
