"""What sharding cannot do is said at once, and how to do it otherwise."""

import re
import sys

import pytest
from sharded_trainings import make_model, make_rows

from nextrec_like import InputError, SharedBottom, SparseFeature
from nextrec_like.sharded import build, tables


@pytest.fixture
def without_engine(monkeypatch):
    """Options are looked at before TorchRec is needed."""
    monkeypatch.setattr(build, "load_engine", lambda: None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sharding": "row_wise"}, "column_wise"),
        ({"sharding": "table_wse"}, "Did you mean `table_wise`"),
        ({"embedding_optimizer": "lazy_adam"}, "adagrad, rowwise_adagrad"),
        ({"embedding_optimizer": "auto", "embedding_optimizer_params": None}, "no lazy_adam"),
        ({"embedding_optimizer": "dense", "embedding_optimizer_params": None}, "no dense"),
        ({"embedding_optimizer": "adagrd"}, "Did you mean `adagrad`"),
        ({"embedding_optimizer": "rowwise_adagrad", "sharding": "column_wise"}, "use adagrad, or table_wise"),
        ({"embedding_optimizer_params": {"lr": 0.1, "weight_decay": 0.1}}, "no `weight_decay`"),
        ({"embedding_optimizer_params": {"lr": "x"}}, "`lr`"),
        ({"accumulate_steps": 2}, "`accumulate_steps`"),
        ({"clip_norm": 1.0}, "`clip_norm`"),
        ({"precision": "fp16"}, "bf16"),
        ({"jit": True}, "`jit`"),
    ],
    ids=str,
)
def test_what_cannot_work_is_refused_by_compile(without_engine, options, words):
    with pytest.raises(InputError, match=re.escape(words)):
        make_model(**{"sharding": "table_wise", **options})


def test_widths_that_fbgemm_does_not_have_are_refused(without_engine):
    model = SharedBottom(sparse_features=[SparseFeature("user", 9, embedding_dim=6)], target=["click"])
    with pytest.raises(InputError, match="give an `embedding_dim` of 8"):
        model.compile("sgd", sharding="auto")


def test_tables_that_are_not_trained_are_refused(without_engine):
    model = make_model()
    model.embedding_tables()[0].weight.requires_grad_(False)
    with pytest.raises(InputError, match="requires_grad=False"):
        model.compile("sgd", sharding="auto")


def test_one_process_is_told_to_start_more(without_engine):
    model = make_model(sharding="table_wise")
    with pytest.raises(InputError, match="torchrun"):
        model.fit(make_rows(), device="cpu", verbose=0, check_data=False)


def test_tables_that_do_not_fit_are_not_made_and_need_sharding():
    with pytest.raises(InputError, match=r"`city` have .* GiB, and are not in this process: .*sharding='auto'"):
        make_model(fits=False)


def test_a_missing_torchrec_is_named_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchrec", None)
    monkeypatch.delitem(sys.modules, "nextrec_like.sharded.engine", raising=False)
    monkeypatch.delattr("nextrec_like.sharded.engine", raising=False)
    with pytest.raises(InputError, match=r"pip install 'nextrec_like\[sharded\]'.*--no-deps torchrec==1.8.0"):
        tables.load_engine()
