"""Broken and foreign model folders."""

import json

import pytest

from nextrec_like import load_model
from nextrec_like.models import MMoE


@pytest.fixture
def folder(train, tmp_path):
    train("mmoe")[0].save(tmp_path / "model")
    return tmp_path / "model"


def edit(folder, **changes):
    path = folder / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_folder_holds_no_pickle(folder):
    assert sorted(file.name for file in folder.iterdir()) == ["model.json", "weights.safetensors"]


def test_folder_of_another_model_is_replaced_and_any_other_refused(folder, train, tmp_path, refused):
    train("ple")[0].save(folder)
    assert type(load_model(folder)).__name__ == "PLE"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    with refused("mine", "other files"):
        train("mmoe")[0].save(tmp_path / "mine")
    with refused("is a file"):
        train("mmoe")[0].save(tmp_path / "mine" / "thesis.tex")


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda folder: (folder / "model.json").unlink(), ["No saved model", "model.json"]),
        (lambda folder: (folder / "model.json").write_text("{"), ["not valid JSON"]),
        (lambda folder: (folder / "model.json").write_text("[]"), ["format"]),
        (lambda folder: edit(folder, format=99), ["format 99"]),
        (lambda folder: edit(folder, model="MMOE"), ["`MMOE`", "Did you mean `MMoE`?", "custom"]),
        (lambda folder: edit(folder, objective="Mine"), ["`Mine`", "custom"]),
        (lambda folder: edit(folder, hyperparameters={"num_experts": 5}), ["damaged"]),
        (lambda folder: edit(folder, hyperparameters={"num_expert": 3}), ["damaged", "num_expert"]),
        (lambda folder: (folder / "weights.safetensors").unlink(), ["weights.safetensors", "missing"]),
        (lambda folder: (folder / "weights.safetensors").write_bytes(b"junk"), ["weights.safetensors", "damaged"]),
    ],
    ids=range(10),
)
def test_broken_folder_is_refused(break_it, words, folder, refused):
    break_it(folder)
    with refused(*words):
        load_model(folder)


def test_folder_that_does_not_exist_is_refused(tmp_path, refused):
    with refused("No saved model", "nowhere"):
        load_model(tmp_path / "nowhere")


class Mine(MMoE):
    """A model of the user's own."""


def test_own_model_is_loaded_by_its_class(features, funnel, table, tmp_path, refused):
    model = Mine(**features, target=funnel, num_experts=2)
    model.compile()
    model.fit(table, device="cpu", verbose=0)
    model.save(tmp_path)
    with refused("`Mine`", "custom"):
        load_model(tmp_path)
    loaded = load_model(tmp_path, custom=[Mine])
    assert type(loaded) is Mine
    assert loaded.predict(table, device="cpu").equals(model.predict(table, device="cpu"))


def test_unfitted_model_stays_unfitted(build, table, tmp_path):
    build("mmoe").save(tmp_path)
    with pytest.warns(UserWarning, match="has not been fitted"):
        load_model(tmp_path).predict(table, device="cpu")


def test_failed_save_leaves_the_saved_model_as_it_was(build, train, table, tmp_path, refused):
    first, _ = train("mmoe")
    first.save(tmp_path / "m")
    second, _ = train("mmoe", seed=5)
    second.hyperparameters["own"] = object()
    with refused("`own`", "JSON"):
        second.save(tmp_path / "m")
    assert load_model(tmp_path / "m").predict(table, device="cpu").equals(first.predict(table, device="cpu"))
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
