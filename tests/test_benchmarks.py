"""The benchmarks run, at tiny sizes, and the page is made of what they write."""

import json
import runpy
import shutil
import sys
import time
from argparse import Namespace
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "tests" / "benchmarks"
MACHINE = {"cpu", "cores", "memory", "os", "gpu", "threads", "python", "torch", "numpy", "pyarrow", "nextrec_like"}


@pytest.fixture(autouse=True)
def siblings(monkeypatch):
    """Scripts import what lies beside them."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    monkeypatch.syspath_prepend(ROOT / "docs")


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Runs a benchmark and gives what it wrote, by the name of the results."""

    def run_script(script, *arguments, writes):
        words = [str(word) for word in arguments]
        monkeypatch.setattr(sys, "argv", [script, *words, "--output", str(tmp_path), "--threads", "1"])
        runpy.run_path(str(BENCHMARKS / script), run_name="__main__")
        written = json.loads((tmp_path / f"{writes}.json").read_text())
        assert written["name"] == writes
        assert written["machine"].keys() >= MACHINE | {"commit", "date"}
        return written

    return run_script


def test_profile_counts_the_operations_of_a_step(run):
    written = run("step_profile.py", "--steps", "3", writes="step_profile")
    rows = {(row["loop"], row["kind"]): row for row in written["results"]}
    products = rows["hand-written, dense Adam", "matrix products"]
    # forward: 2 for the experts, 2 gates, 6 in the towers, 2 mixtures; backward: two each, the inputs of the first too
    assert products["calls"] == 3 * (2 + 2 + 6 + 2)
    assert rows["fit, dense", "optimizer"]["calls"] == 2
    assert all(row["microseconds"] > 0 for row in written["results"])


def test_throughput_compares_fit_with_its_hand_written_loop(run):
    sizes = ("--rows", 2000, "--vocabulary", 50, "--batch-size", 500, "--rounds", 2)
    written = run("throughput.py", *sizes, writes="throughput")
    rows = {row["loop"]: row for row in written["results"]}
    fit, hand = rows["fit, dense"], rows["hand-written, dense Adam"]

    first, second = (above / below for above, below in zip(hand["seconds"], fit["seconds"]))
    assert fit["reference"] == "hand-written, dense Adam"
    assert fit["ratio"] == pytest.approx((first + second) / 2)
    assert {"fit, auto", "fit, grad_norm", "fit, lazy_adam", "fit, rowwise_adagrad"} < rows.keys()


def test_hand_written_network_has_the_parameters_of_the_model():
    from loops import DenseLoop, build_model
    from workload import Workload, make_data

    workload = Workload(rows=10, vocabulary=7, num_ids=3, width=2, num_dense=1, num_experts=3, expert_dims=(6, 5))
    loop = DenseLoop(make_data(workload), workload)

    own = sum(parameter.numel() for parameter in build_model(workload).parameters())
    assert loop.table.numel() + sum(parameter.numel() for parameter in loop.network.parameters()) == own


def test_leaf_gather_loop_changes_the_rows_of_the_epoch_only():
    from loops import LeafGatherLoop
    from workload import Workload, make_data

    workload = Workload(rows=20, vocabulary=100, batch_size=8)
    data = make_data(workload)
    loop = LeafGatherLoop(data, workload)
    before = loop.table.clone()

    loop.epoch()

    seen = {number * 100 + int(value) for number, name in enumerate(workload.id_names) for value in data[name]}
    changed = (loop.table != before).any(dim=1).nonzero().flatten().tolist()
    assert set(changed) == seen


def test_vocabulary_measures_speed_and_memory(run):
    sizes = ("--sizes", 50, 10**9, "--optimizers", "dense", "--rows", 1000, "--batch-size", 500, "--rounds", 1)
    small, large = run("vocabulary.py", *sizes, "--epochs", 2, writes="vocabulary")["results"]

    assert small["samples_per_second"] > 0
    assert small["ratio"] == 1
    assert 10**8 < small["peak_memory"] < 10**10
    assert large["samples_per_second"] is None
    assert "2560.0 GB" in large["left_out"]  # 4 tensors of 10 x 10^9 x 16 floats


def test_streaming_compares_parquet_with_memory(run, tmp_path):
    sizes = ("--rows", 1200, "--batch-size", 500, "--rounds", 1, "--folder", tmp_path / "parquet")
    written = run("streaming.py", *sizes, writes="streaming")
    rows = {row["way"]: row for row in written["results"]}

    assert rows.keys() == {"memory", "stream", "cache"}
    assert rows["stream"]["ratio"] == pytest.approx(rows["memory"]["seconds"][0] / rows["stream"]["seconds"][0])
    assert rows["stream"]["rows_per_second"] == pytest.approx(1200 / rows["stream"]["seconds"][0])
    assert [path.name for path in (tmp_path / "parquet").iterdir()] == ["rows-1200"]  # and no cache is left


def test_more_rows_than_fit_are_streamed_once(monkeypatch):
    import streaming
    from workload import Workload

    class OneEpoch:
        """Stands for a child process that trains ten rows in four seconds."""

        def __init__(self, command, threads):
            assert command[-1] == "stream"

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def epoch(self):
            return {"seconds": 5.0, "epoch_seconds": 4.0, "peak_memory": 7}

    monkeypatch.setattr(streaming, "Child", OneEpoch)
    arguments = Namespace(in_memory=9, ways=["memory", "stream"], rounds=3, threads=1)
    (row,) = streaming.measure(Workload(rows=10), Path("files"), arguments)

    assert (row["rows_per_second"], row["fit_rows_per_second"], row["peak_memory"]) == (2.5, 2.0, 7)
    assert (row["ratio"], row["seconds"]) == (None, [4.0])


def test_generated_files_hold_every_row_once_in_row_groups(tmp_path, monkeypatch):
    import pyarrow.parquet as pq
    import streaming
    from workload import Workload

    monkeypatch.setattr(streaming, "FILE_ROWS", 50)
    monkeypatch.setattr(streaming, "GROUP_ROWS", 20)
    files = sorted(streaming.generate(Workload(rows=110), tmp_path / "rows").iterdir())

    assert [pq.ParquetFile(path).metadata.num_rows for path in files] == [50, 50, 10]
    assert pq.ParquetFile(files[0]).metadata.num_row_groups == 3
    assert str(pq.read_schema(files[0]).field("id0").type) == "int32"


def test_peers_alternate_with_this_library(run):
    written = run("peers.py", "--peers", "--rows", 1000, "--vocabulary", 50, "--rounds", 2, writes="peers")
    (own,) = written["results"]

    assert (own["program"], own["ratio"], own["target"]) == ("nextrec_like", 1, None)
    assert len(own["seconds"]) == 2
    assert own["epoch_samples_per_second"] > own["samples_per_second"]
    assert own["parameters"] == 10 * 50 * 16 + layer_weights()


def layer_weights():
    """Experts, gates and towers of the workload: weights and biases, by hand."""
    experts = 4 * (165 * 64 + 64 + 64 * 32 + 32)
    gates = 2 * (165 * 4 + 4)
    towers = 2 * (32 * 32 + 32 + 32 * 16 + 16 + 16 + 1)
    return experts + gates + towers


def test_scaling_compares_processes_and_counts_their_bytes(run):
    sizes = ("--rows", 400, "--vocabulary", 50, "--batch-size", 100, "--rounds", 1)
    written = run("scaling.py", *sizes, "--large", 50, "--batch-sizes", 4000, "--processes", 2, writes="scaling")
    (sent,) = written["results"][-1:]
    speeds, parts = ([row for row in written["results"] if row["case"] == case] for case in ("speed", "profile"))

    assert [row["group"] for row in parts] == ["alone", "together", "apart"]
    assert all(row["parts"]["all"] > row["parts"]["forward"] + row["parts"]["backward"] > 0 for row in parts)
    assert [row["training"] for row in speeds] == ["fixed weights", "rowwise_adagrad", "grad_norm"]
    assert all(row["speedup"] > 0 and row["apart"] > 0 and 0 < row["in_messages"] < 1 for row in speeds)
    assert (sent["distinct_rows"], sent["whole_tables"]) == (500, 500 * 16 * 4)  # all 50 values of 10 columns
    assert sent["lower_bound"] == 500 * (8 + 16 * 4)
    assert sent["rows_sent"] == sent["lower_bound"] + 2 * 8  # and two lengths
    assert sent["sent"] > sent["rows_sent"] + 4 * layer_weights()


def test_ratio_of_a_peer_is_that_of_the_rounds():
    import peers

    answers = {
        "nextrec_like": [{"seconds": 1.0, "epoch_seconds": 0.5}, {"seconds": 2.0, "epoch_seconds": 1.0}],
        "nextrec": [{"seconds": 10.0, "epoch_seconds": 9.0}, {"seconds": 24.0}],
    }

    row = peers.result("nextrec", answers, rows=100)

    assert (row["ratio"], row["epoch_ratio"], row["target"]) == (11, 21, 11)
    assert row["samples_per_second"] == pytest.approx(100 / 17)


def test_child_that_fails_says_what_it_wrote(tmp_path):
    from child import Child, ChildError

    script = tmp_path / "program.py"
    script.write_text("print('a word before'); raise SystemExit(3)")

    with Child([sys.executable, script], threads=1) as child, pytest.raises(ChildError) as failure:
        child.epoch()
    assert "status 3 before it answered. It wrote: a word before" in str(failure.value)
    assert child.process.returncode == 3


def test_child_may_print_and_ends_with_its_input(tmp_path):
    from child import Child

    script = tmp_path / "program.py"
    script.write_text("from child import serve\nserve({'ready': 1}, lambda: print('noise') or {'seconds': 0.5})")

    with Child([sys.executable, script], threads=1) as child:
        assert child.hello == {"ready": 1}
        assert [child.epoch(), child.epoch()] == [{"seconds": 0.5}] * 2
    assert child.process.returncode == 0


def test_loops_alternate_and_the_first_round_does_not_count():
    from results import alternate, median_ratio, timed

    order = []
    loops = {name: lambda name=name: order.append(name) or len(order) for name in "ab"}

    assert alternate(loops, rounds=2) == {"a": [3, 5], "b": [4, 6]}
    assert order == ["a", "b"] * 3
    assert median_ratio([2, 9, 4], [1, 1, 1]) == 4
    assert 0.01 <= timed(lambda: time.sleep(0.01))() < 1


def test_peak_memory_grows_with_what_is_held():
    from results import peak_memory

    before = peak_memory()
    held = bytearray(b"x") * (before + 2**27)

    assert peak_memory() >= len(held)


GPU_SIZES = ("--device", "cpu", "--rows", 600, "--epochs", 2, "--networks", "small")


def test_gpu_benchmark_runs_on_a_processor(run):
    variants = ("--batch-sizes", 300, "--variants", "dense", "grad_norm")
    dense, grad_norm = run("gpu.py", *GPU_SIZES, *variants, writes="cpu_small")["results"]

    assert (dense["variant"], dense["failed"], dense["warnings"]) == ("dense", None, [])
    assert dense["samples_per_second"] / dense["roofline_samples_per_second"] == dense["roofline_share"]
    assert grad_norm["samples_per_second"] > 0
    assert grad_norm["roofline_share"] is None


def test_gpu_benchmark_compiles_each_size_as_in_a_process_of_its_own(run, monkeypatch):
    import torch

    sizes, compile_with = [], torch.compile

    def backend(graph, inputs):
        sizes.extend(each.shape[0] for each in inputs if each.dtype == torch.int64 and each.dim() == 2)  # the ids
        return graph

    monkeypatch.setattr(torch, "compile", lambda function, **options: compile_with(function, backend=backend))
    variants = ("--batch-sizes", 300, 200, 100, "--variants", "dense, jit")
    rows = run("gpu.py", *GPU_SIZES, *variants, writes="cpu_small")["results"]

    assert [(type(size), size) for size in sizes] == [(int, 300), (int, 200), (int, 100)]
    assert {row["variant"] for row in rows} == {"dense, jit"}


def test_gpu_benchmark_says_which_rows_are_not_compiled(run, monkeypatch, capsys):
    import torch

    def compile_without_compiler(function, **options):
        def call(*arguments):
            raise torch._dynamo.exc.TorchDynamoException("no C++ compiler")

        return call

    monkeypatch.setattr(torch, "compile", compile_without_compiler)
    variants = ("--batch-sizes", 300, 200, "--variants", "dense", "dense, jit")
    rows = run("gpu.py", *GPU_SIZES, *variants, writes="cpu_small")["results"]

    assert [row["variant"] for row in rows] == ["dense", "dense", *["dense, jit (fell back)"] * 2]
    assert all(row["samples_per_second"] > 0 and row["roofline_share"] > 0 for row in rows)
    assert [len(row["warnings"]) for row in rows] == [0, 0, 1, 1]
    assert capsys.readouterr().out.count("no C++ compiler") == 2


def test_gpu_benchmark_without_a_gpu_says_so(run, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)

    with pytest.raises(SystemExit, match="There is no GPU that torch can use") as stop:
        run("gpu.py", writes="gpu_small")
    assert stop.value.code


def test_roofline_counts_are_those_of_a_calculation_by_hand():
    from roofline import Peak, layers, num_layer_weights, step_operations
    from workload import Workload

    workload = Workload(
        vocabulary=10, batch_size=4, num_ids=2, width=3, num_dense=1, num_experts=2, expert_dims=(5, 6), tower_dims=(8,)
    )

    # input 2 * 3 + 1 = 7; experts 7 -> 5 -> 6, twice; gates 7 -> 2, twice; towers 6 -> 8 -> 1, twice
    multiply_adds = 4 * (2 * (7 * 5 + 5 * 6) + 2 * 7 * 2 + 2 * (6 * 8 + 8 * 1))
    dense = step_operations(workload, "dense", distinct_rows=7)
    assert sum(each.flops for each in dense) == 3 * 2 * multiply_adds

    moved = {each.name: each.bytes for each in dense}
    assert moved["batch"] == 2 * 4 * (
        2 * 8 + 1 * 4 + 2 * 4
    )  # ids of 8 bytes, a number and two labels of 4; read, written
    assert moved["gather"] == 4 * (4 * 2 * 3 + 4 * 7)  # embeddings read, input of the layers written
    first = 4 * 7 + 7 * (2 * 5 + 2 * 2) + 4 * (2 * 5 + 2 * 2)
    assert moved["first layer of experts and gates"] == 3 * 4 * first  # three products of these three matrices
    assert moved["scatter"] == 4 * (4 * 2 * 3 + 20 * 3)  # gradient of the rows read, of the tables written
    assert moved["dense of the embeddings"] == 4 * 7 * 20 * 3  # gradient; weight and two moments, read and written
    weights = 2 * (7 * 5 + 5 + 5 * 6 + 6) + 2 * (7 * 2 + 2) + 2 * (6 * 8 + 8 + 8 + 1)
    assert num_layer_weights(workload) == weights
    assert moved["adam of the layers"] == 4 * 7 * weights

    rows = {each.name: each.bytes for each in step_operations(workload, "rowwise_adagrad", distinct_rows=7)}
    assert rows["rowwise_adagrad of the embeddings"] == 4 * (3 * 7 * 3 + 2 * 7)  # and one number per row
    lazy = {each.name: each.bytes for each in step_operations(workload, "lazy_adam", 7, activation_bytes=2)}
    assert lazy["lazy_adam of the embeddings"] == 4 * 7 * 7 * 3
    assert lazy["gather"] == 4 * (4 * 2 * 3) + 2 * (4 * 7)
    assert len(list(layers(workload))) == 4

    # 10 operations and 100 bytes a second: the slower of both, one operation after the other
    expected = sum(max(each.flops / 10, each.bytes / 100) for each in dense)
    assert Peak(10, 100).seconds(dense) == pytest.approx(expected)


def test_weighting_cost_is_written_with_its_verdict(run, tmp_path):
    sizes = ("--smoke", "--methods", "equal", "mgda", "--tasks", 2, "--tables", "leaf", "--sites", "default")
    with pytest.raises(SystemExit) as end:
        run("weighting_cost.py", *sizes, writes="weighting_cost")
    written = json.loads((tmp_path / "weighting_cost.json").read_text())

    assert not end.value.code
    assert written["machine"]["threads"] == 1
    assert written["settings"]["missed"] == []
    equal, mgda, *solves = written["results"]
    assert (equal["method"], equal["table_passes"]) == ("equal", 1)
    assert (mgda["method"], mgda["table"], mgda["variant"]) == ("mgda", "leaf", "default")
    assert [(row["case"], row["method"], row["tasks"]) for row in solves] == [
        ("solve", "mgda", f"K={size}") for size in (2, 4, 8)
    ]


def test_comparison_statistics_are_measured(run):
    sizes = ("--rows", 500, "--methods", 3, "--seeds", 2, "--groups", 20, "--jobs", 1)
    written = run("comparison_statistics.py", *sizes, writes="comparison_statistics")
    (row,) = written["results"]

    assert written["settings"]["rows"] == 500
    assert row["seconds"] > 0
    assert row["peak_memory"] >= row["memory_before"] > 10**7
    assert row["differences"] > 0


def test_census_references_are_measured(run, tmp_path):
    from rows import census_rows

    for seed, part in enumerate(("train", "test")):
        census_rows(300, seed).to_parquet(tmp_path / f"{part}.parquet")
    written = run("census_reference.py", "--folder", tmp_path, writes="census_reference")

    assert len(written["results"]) == 4
    assert all(0.3 < row["auc"] < 0.7 for row in written["results"])  # labels are drawn without regard to the columns


def test_page_of_several_processes_says_which_targets_are_missed(tmp_path):
    import performance_page
    from results import write_results

    copy = Path(shutil.copy(ROOT / "docs" / "distributed.md", tmp_path))
    speed = {"case": "speed", "alone": 1e5, "together": 1.5e5, "speedup": 1.5, "apart": 1.8, "in_messages": 0.125}
    sent = {"case": "bytes", "processes": 2, "batch_size": 4, "distinct_rows": 40.0, "whole_tables": 6.4e8}
    sent |= {"lower_bound": 2e6, "rows_sent": 2.1e6, "sent": 2.5e6, "loopback": None, "of_lower_bound": 1.25}
    rows = [{**speed, "training": "fixed weights"}, {**speed, "training": "grad_norm"}, sent]
    write_results("scaling", {"rounds": 5}, rows, tmp_path / "performance")
    performance_page.main(["--results", str(tmp_path / "performance"), "--page", str(copy)])

    text = copy.read_text()
    assert "| two processes against one, a core each | at least 1.70 times | 1.50 times | **missed** |" in text
    assert "| under 2.00 times | 1.25 times | met |" in text
    assert "| `grad_norm` | 100,000 | 150,000 | 1.50 | 1.80 | 12% |" in text
    assert "| 2 | 4 | 40 | 2.00 | 2.10 | 2.50 |  | 1.25 | 640 |" in text


@pytest.fixture
def page(tmp_path):
    """A copy of docs/performance.md, and a function that writes it anew and gives its text."""
    copy = Path(shutil.copy(ROOT / "docs" / "performance.md", tmp_path))
    folder = tmp_path / "performance"
    folder.mkdir()

    def rewrite(**results):
        import performance_page
        from results import write_results

        for name, (settings, rows) in results.items():
            write_results(name, settings, rows, folder)
        performance_page.main(["--results", str(folder), "--page", str(copy)])
        return copy.read_text()

    return rewrite


def test_page_says_what_is_not_measured(page):
    text = page()

    assert text.count("Not measured.") == 10
    assert "| `fit` against NextRec | at least 11.0 times |  | not measured |" in text
    assert "## Weightings" in text


def test_page_has_tables_plots_and_verdicts(page, tmp_path):
    peer = {"version": "1", "parameters": 5, "samples_per_second": 100.0, "epoch_samples_per_second": 110.0}
    peer |= {"epoch_ratio": 4.0, "seconds": [1.0]}
    ours = {**peer, "program": "nextrec_like", "ratio": 1.0, "target": None}
    size = {"vocabulary": 10**6, "samples_per_second": 90.0, "peak_memory": 2e9, "ratio": 0.5, "left_out": None}
    streamed = {"rows": 50_000_000, "way": "stream", "rows_per_second": 9.0, "fit_rows_per_second": 8.0, "ratio": None}
    functions = {"case": "functions", "rows": 10**7, "groups": 10**6}
    stream = {
        "case": "stream",
        "rows": 10**8,
        "rows_per_second": 2e6,
        "peak_memory": 3e9,
        "error_bounds": {"auc": 1e-7},
    }
    encoded = {"fit": 20.0, "transform": 9.0, "transform_frame": 5.0, "frame_ratio": 8.0, "ratio": 9.5}
    sized = {"variant": "dense", "batch_size": 8, "failed": None, "flops": 2e9, "bytes": 1e9}
    text = page(
        peers=({"rounds": 5}, [ours, {**peer, "program": "nextrec", "ratio": 12.5, "target": 11.0}]),
        vocabulary=({}, [{**size, "embedding_optimizer": "auto"}]),
        streaming=({}, [{**streamed, "peak_memory": 1.4e9, "seconds": [5.0]}]),
        processor_peer=({}, [{**encoded, "program": "nextrec"}]),
        metrics=(
            {},
            [{**functions, "seconds": {"auc": 0.2, "gauc, integer groups": 8.5}}, {**stream, "errors": None}],
        ),
        gpu_large=(
            {"peak": {"flops": 4e14, "bandwidth": 3e12}},
            [{**sized, "samples_per_second": 7e6, "roofline_share": 0.6}],
        ),
    )

    assert "| `fit` against NextRec | at least 11.0 times | 12.5 times | met |" in text
    assert "| at least 0.80 | 0.50 | **missed** |" in text
    assert "| peak memory of streaming 50 M rows | under 1.50 GB | 1.40 GB | met |" in text
    assert "| dense | 8 | 7,000,000 | 0.60 | 2.00 | 1.00 |" in text
    assert "| processor, fit and transform, against NextRec's | at least 10.0 times | 9.5 times | **missed** |" in text
    assert "| nextrec | 20.00 | 9.00 | 5.00 | 9.5 | 8.0 |" in text
    assert "| AUC of 10 M rows | under 2.00 s | 0.20 s | met |" in text
    assert "| GAUC of 10 M rows, 1 M groups | under 8.00 s | 8.50 s | **missed** |" in text
    assert "| 100,000,000 | 2.0 | 3.00 | not computed, 1.0e-07 | not computed, 0.0e+00 |" in text
    assert "measured peak 400.0 TFLOP/s, 3,000 GB/s" in text
    assert "5 rounds on " in text
    for name in ("peers", "vocabulary", "streaming", "gpu_large"):
        assert f"![{name}](performance/{name}.svg)" in text
        assert "<svg" in (tmp_path / "performance" / f"{name}.svg").read_text()
    assert page() == text
