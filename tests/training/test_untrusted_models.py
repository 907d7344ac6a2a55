"""Model folders of a stranger: nothing runs, nothing outside is read, nothing takes more memory than it should."""

import json
import os
import resource
import struct
import threading
from contextlib import suppress

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nextrec_like import DataProcessor, IdColumn, InputError, NumericColumn, SequenceColumn, load_model
from nextrec_like.models import MODELS, MMoE

HUGE = 10**12


@pytest.fixture
def processor():
    rows = {"price": [1.0, 2.0, 5.0], "item": ["a", "b", "a"], "history": [[1], [2, 3], []], "age": [1, 2, 3]}
    columns = [NumericColumn("price"), IdColumn("item"), SequenceColumn("history"), NumericColumn("age", "quantile")]
    return DataProcessor(columns).fit(rows)


@pytest.fixture
def folder(processor, tmp_path):
    """A saved model with a processor; its warning that it was not fitted is no matter here."""
    model = MMoE(**processor.features(), target=["click", "like"], num_experts=2, processor=processor)
    model.is_fitted = True
    model.save(tmp_path / "model")
    return tmp_path / "model"


def change(file, **changes):
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def described(folder, key, index, **changes):
    """Changes one feature or task in the description."""
    content = json.loads((folder / "model.json").read_text())
    content[key][index].update(changes)
    change(folder / "model.json", **{key: content[key]})


def test_the_folder_loads_as_it_is(folder):
    assert load_model(folder).task_names == ["click", "like"]


WRONG = (None, True, -1, 0.5, 10**19, "x", "", [], ["x"], [[]], {}, {"x": 1}, [None])


@pytest.mark.parametrize("key", ["format", "model", "objective", "fitted", "num_fits", "processor", "tasks"])
@pytest.mark.parametrize("key_of", ["model.json"])
def test_a_value_of_another_type_is_one_of_our_errors(key, key_of, folder):
    before = (folder / key_of).read_text()
    allowed = {"fitted": [True], "num_fits": [10**19], "processor": [None]}
    for value in WRONG:
        change(folder / key_of, **{key: value})
        if value not in allowed.get(key, []) and not (key == "num_fits" and value in (True, -1)):
            with pytest.raises(InputError):
                load_model(folder)
        (folder / key_of).write_text(before)


@pytest.mark.parametrize("name", ["model.json", "processor/processor.json"])
def test_no_value_anywhere_in_a_description_leads_to_another_error(name, folder):
    """Each value, however deep, is replaced by each of the wrong ones, and left out."""
    content = json.loads((folder / name).read_text())
    for path in list(paths(content)):
        for value in (*WRONG, "left out"):
            (folder / name).write_text(json.dumps(replaced(content, path, value)))
            with suppress(InputError):
                load_model(folder)


def paths(value, path=()):
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield (*path, key)
        yield from paths(inner, (*path, key))


def replaced(content, path, value):
    content = json.loads(json.dumps(content))
    node = content
    for key in path[:-1]:
        node = node[key]
    if value == "left out":
        del node[path[-1]]
    else:
        node[path[-1]] = value
    return content


@pytest.fixture
def little_memory():
    """In the test the process may take 2 GB more than it has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    with open("/proc/self/statm") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 2 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize(
    "ask",
    [
        lambda folder: described(folder, "sparse_features", 1, vocab_size=HUGE),
        lambda folder: described(folder, "sparse_features", 1, vocab_size=2**26, embedding_dim=64),
        lambda folder: described(folder, "sparse_features", 1, embedding_dim=HUGE),
        lambda folder: described(folder, "dense_features", 0, dim=HUGE),
        lambda folder: described(folder, "sequence_features", 0, max_len=HUGE),
        lambda folder: change(folder / "model.json", hyperparameters={"num_experts": HUGE}),
        lambda folder: change(folder / "model.json", hyperparameters={"expert_params": {"dims": [10**9]}}),
        lambda folder: change(folder / "model.json", hyperparameters={"tower_params": {"dims": [8] * 10**5}}),
        lambda folder: change(folder / "model.json", tasks=[{"name": f"t{number}"} for number in range(5_000)]),
        lambda folder: change(folder / "model.json", tasks=chain(5_000)),
        lambda folder: change(folder / "model.json", model="PLE", hyperparameters={"num_levels": HUGE}),
        lambda folder: change(folder / "model.json", model="PLE", hyperparameters={"num_task_experts": HUGE}),
        lambda folder: change(
            folder / "model.json", model="SharedBottom", hyperparameters={"bottom_params": wide(10**9)}
        ),
        lambda folder: change(folder / "model.json", model="SingleTask", hyperparameters={"tower_params": wide(10**9)}),
        lambda folder: change(folder / "model.json", model="ESMM", hyperparameters={"ctr_params": wide(10**9)}),
    ],
    ids=range(15),
)
def test_a_description_that_asks_for_more_than_the_weights_are_is_refused_at_once(ask, folder, little_memory):
    change(folder / "model.json", processor=None)
    ask(folder)
    with pytest.raises(InputError):
        load_model(folder)


def wide(dim):
    return {"dims": [dim], "norm": "batch"}


def chain(length):
    return [{"name": "t0"}, *({"name": f"t{i}", "parent": f"t{i - 1}"} for i in range(1, length))]


@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_model_is_refused_before_its_memory_is_written_to(name, build, tmp_path, little_memory):
    build(name).save(tmp_path)
    described(tmp_path, "sparse_features", 0, vocab_size=2**31)  # 32 GB, which the system would promise
    with pytest.raises(InputError, match=r"asks for more weights than `weights\.safetensors` has|memory"):
        load_model(tmp_path)


class Replacing(MMoE):
    """A model that replaces layers after it has built them, as own models do."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.towers = nn.ModuleDict({name: nn.Linear(self.experts.out_dim, 1) for name in self.task_names})


def test_own_models_may_replace_their_layers(processor, tmp_path):
    model = Replacing(**processor.features(), target=["click", "like"], processor=processor)
    model.is_fitted = True
    model.save(tmp_path)
    loaded = load_model(tmp_path, custom=Replacing)
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in model.state_dict().items())


def test_another_thread_may_build_a_large_model_meanwhile(folder, monkeypatch):
    other = []
    thread = threading.Thread(target=lambda: other.append(nn.Linear(3_000, 1_000)))

    def slow(self, *arguments, **options):
        thread.start()
        thread.join()
        return original(self, *arguments, **options)

    original = MMoE.__init__
    monkeypatch.setattr(MMoE, "__init__", slow)
    load_model(folder)
    assert other[0].weight.shape == (1_000, 3_000)


def test_the_limit_ends_with_the_loading(folder):
    load_model(folder)
    (folder / "weights.safetensors").unlink()
    with pytest.raises(InputError):
        load_model(folder)
    nn.Linear(3_000, 1_000)


@pytest.mark.parametrize("name", ["Linear", "builtins.exec", "os.system", "__import__", "MMoE()", "../MMoE", ""])
def test_no_class_but_those_of_the_library_and_the_given_ones_is_built(name, folder, refused):
    for key in ("model", "objective"):
        before = (folder / "model.json").read_text()
        change(folder / "model.json", **{key: name})
        with refused(f"`{name}`", "custom"):
            load_model(folder)
        (folder / "model.json").write_text(before)


def test_hyperparameters_cannot_take_the_place_of_other_arguments(folder, refused):
    for name in ("target", "processor", "dense_features", "self", "__class__"):
        change(folder / "model.json", hyperparameters={name: ["x"]})
        with refused("In the saved model", name):
            load_model(folder)


@pytest.mark.parametrize(
    "name", ["model.json", "weights.safetensors", "processor/processor.json", "processor/vocabulary_1.parquet"]
)
@pytest.mark.parametrize("kind", ["outside", "pipe", "folder", "missing", "empty"])
def test_a_file_that_is_none_or_lies_outside_is_refused(name, kind, folder, refused):
    file = folder / name
    outside = folder.parent / "outside"
    file.rename(outside)
    if kind == "outside":
        file.symlink_to(outside)
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "folder":
        file.mkdir()
    elif kind == "empty":
        file.touch()
    with refused(str(file)):
        load_model(folder)


def test_the_folder_of_the_processor_is_no_link(folder, refused):
    (folder / "processor").rename(folder.parent / "elsewhere")
    (folder / "processor").symlink_to(folder.parent / "elsewhere")
    with refused("processor", "link"):
        load_model(folder)


def weights(folder, **changes):
    found = load_file(folder / "weights.safetensors")
    save_file({**found, **changes}, folder / "weights.safetensors")


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (b"", b""),
        (struct.pack("<Q", 2**63), b""),
        (struct.pack("<Q", 10**8 + 1), b"{}"),
        (struct.pack("<Q", 2), b"[]"),
        (struct.pack("<Q", 2), b"{}"),
    ],
    ids=range(5),
)
def test_weights_with_another_header_are_refused(header, body, folder, refused):
    (folder / "weights.safetensors").write_bytes(header + body)
    with refused("In the saved model"):
        load_model(folder)


def test_weights_whose_header_promises_more_than_the_file_has_are_refused(folder, refused):
    header = json.dumps({"embedding.tables.0.weight": {"dtype": "F32", "shape": [HUGE], "data_offsets": [0, 4 * HUGE]}})
    (folder / "weights.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(8))
    with refused("weights.safetensors", "damaged"):
        load_model(folder)


def test_weights_of_another_shape_are_refused_in_one_line(folder, refused):
    weights(folder, **{"towers.0.logit.weight": torch.zeros(3, 3)})
    with refused("towers.0.logit.weight") as _:
        load_model(folder)
    weights(folder, extra=torch.zeros(1))
    with pytest.raises(InputError) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_weights_that_are_not_finite_are_said(folder):
    weights(folder, **{"towers.0.logit.bias": torch.tensor([float("nan")])})
    with pytest.warns(UserWarning, match=r"weights that are not finite, in `towers\.0\.logit\.bias`"):
        load_model(folder)


@pytest.mark.parametrize(
    "table",
    [
        {"value": pa.array([1.5, 2.5])},
        {"value": pa.array([[1], [2]])},
        {"value": pa.array(["a", None], pa.large_string())},
        {"value": pa.array(["a"], pa.large_string())},
        {"value": pa.array(["a", "b", "c"], pa.large_string())},
        {"value": pa.array([-5, 2])},
        {"values": pa.array(["a", "b"], pa.large_string())},
        {"value": pa.array(["a", "b"], pa.large_string()), "more": pa.array([1, 2])},
        {},
    ],
    ids=range(9),
)
def test_another_vocabulary_is_refused(table, folder, refused):
    pq.write_table(pa.table(table), folder / "processor" / "vocabulary_1.parquet")
    with refused("In the processor saved in", "save the processor again"):
        load_model(folder)


def test_a_text_that_is_in_a_vocabulary_again_and_again_is_refused_before_it_takes_memory(
    folder, refused, little_memory
):
    file = folder / "processor" / "vocabulary_1.parquet"
    many = pa.table({"value": pa.array(["x" * 100_000] * 100, pa.large_string())})
    with pq.ParquetWriter(file, many.schema) as writer:
        for _ in range(400):
            writer.write_table(many)
    assert file.stat().st_size < 10**7  # and 4 GB in memory
    with refused("vocabulary_1.parquet` has a value twice"):
        load_model(folder)


def test_a_vocabulary_that_is_compressed_too_well_is_refused(folder, refused, little_memory):
    file = folder / "processor" / "vocabulary_1.parquet"
    zeros = pa.table({"value": np.zeros(10**6, np.int64)})
    pq.write_table(zeros, file, use_dictionary=False, compression="zstd")
    with refused("vocabulary_1.parquet` has", "too many"):
        load_model(folder)


@pytest.mark.parametrize("found", [0, 1, 99, "2", None])
def test_a_processor_of_another_format_is_refused_by_its_number(found, folder, refused):
    change(folder / "processor" / "processor.json", format=found)
    with refused(f"has format {found!r}", "reads format 2"):
        load_model(folder)


def test_a_loaded_model_predicts_and_leaves_the_folder_as_it_was(folder):
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    rows = pd.DataFrame({"price": [1.0], "item": ["zzz"], "history": [[7]], "age": [9]})
    assert len(load_model(folder).predict(rows, device="cpu")) == 1
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
