"""`evaluate` and `predict` against scikit-learn."""

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from sklearn.metrics import log_loss, mean_squared_error, roc_auc_score

from nextrec_like import InputWarning, Task, load_model

CPU = {"device": "cpu"}


@pytest.fixture
def model(train):
    return train("mmoe", epochs=2)[0]


def test_metrics_equal_scikit_learn_on_the_predictions(model, other_table):
    prediction, result = model.predict(other_table, **CPU), model.evaluate(other_table, **CPU)
    for task in ("click", "conversion"):
        label = other_table[task]
        assert result[task]["auc"] == pytest.approx(roc_auc_score(label, prediction[task]), abs=1e-12)
        assert result[task]["logloss"] == pytest.approx(log_loss(label, prediction[task]), abs=1e-12)


def test_auc_counts_ties_as_half(model, other_table):
    three_rows = np.arange(160) % 3
    tied = {name: [values[row] for row in three_rows] for name, values in other_table.items()}
    tied |= {task: other_table[task] for task in ("click", "conversion")}
    prediction = model.predict(tied, **CPU)["click"]
    assert prediction.nunique() < 10
    expected = roc_auc_score(other_table["click"], prediction)
    assert model.evaluate(tied, **CPU)["click"]["auc"] == pytest.approx(expected, abs=1e-12)


def test_conditional_metrics_are_over_clicked_rows_only(model, other_table):
    clicked = other_table["click"] == 1
    given = model.predict(other_table, **CPU)["conversion_given_click"][clicked]
    result = model.evaluate(other_table, **CPU)["conversion_given_click"]
    assert result["auc"] == pytest.approx(roc_auc_score(other_table["conversion"][clicked], given), abs=1e-12)
    assert result["logloss"] == pytest.approx(log_loss(other_table["conversion"][clicked], given), abs=1e-12)


def test_rows_without_a_label_are_left_out(model, other_table):
    missing = np.arange(160) % 3 == 0
    partly = {**other_table, "conversion": np.where(missing, np.nan, other_table["conversion"])}
    rest = {name: [v for v, m in zip(values, missing) if not m] for name, values in other_table.items()}
    assert model.evaluate(partly, **CPU)["conversion"] == pytest.approx(model.evaluate(rest, **CPU)["conversion"])


def test_task_without_labels_or_with_one_class_has_none_and_a_reason(model, other_table):
    unlabelled = model.evaluate({**other_table, "conversion": np.full(160, np.nan)}, **CPU)
    assert unlabelled["conversion"] == {"auc": None, "logloss": None}
    assert unlabelled["conversion"].reasons["auc"]
    negative = model.evaluate({**other_table, "conversion": np.zeros(160)}, **CPU)
    assert negative["conversion"]["auc"] is None
    assert "classes" in negative["conversion"].reasons["auc"]
    assert negative["conversion"]["logloss"] > 0
    unclicked = {**other_table, "click": np.zeros(160), "conversion": np.zeros(160)}
    assert model.evaluate(unclicked, **CPU)["conversion_given_click"]["auc"] is None


def test_regression_is_judged_by_its_error(build, train, other_table):
    model, _ = train(model=build("mmoe", target=["click", Task("price", kind="regression")]), epochs=3)
    prediction = model.predict(other_table, **CPU)["price"]
    expected = mean_squared_error(other_table["price"].astype(np.float32), prediction) ** 0.5
    assert model.evaluate(other_table, **CPU)["price"]["rmse"] == pytest.approx(expected)


def test_predictions_are_float64_and_keep_the_index_of_a_frame(model, other_table):
    frame = pd.DataFrame({**other_table, "pair": list(other_table["pair"])}).set_index(pd.Index(range(500, 660)))
    prediction = model.predict(frame.sample(frac=1, random_state=0), **CPU)
    assert (prediction.dtypes == np.float64).all()
    plain = model.predict(other_table, **CPU)
    np.testing.assert_allclose(prediction.sort_index(), plain, rtol=1e-6)


def test_predict_needs_no_labels_and_ignores_other_columns(model, other_table):
    without = {name: values for name, values in other_table.items() if name not in ("click", "conversion")}
    without["note"] = ["x"] * 160
    pd.testing.assert_frame_equal(model.predict(without, **CPU), model.predict(other_table, **CPU))


@pytest.mark.parametrize("form", ["frame", "arrow", "parquet", "tensors", "shuffled columns"])
def test_any_form_of_table_gives_the_same_predictions(form, model, other_table, tmp_path):
    frame = pd.DataFrame({**other_table, "pair": list(other_table["pair"])})
    tensors = {n: torch.tensor(v) if n != "hist" else v for n, v in other_table.items()}
    frame.to_parquet(tmp_path / "t.parquet")
    data = {
        "frame": frame,
        "arrow": pa.Table.from_pandas(frame),
        "parquet": tmp_path / "t.parquet",
        "tensors": tensors,
        "shuffled columns": frame[frame.columns[::-1]],
    }[form]
    pd.testing.assert_frame_equal(model.predict(data, **CPU), model.predict(other_table, **CPU), check_exact=True)


def test_one_row_is_enough_and_no_row_is_refused(model, other_table, refused):
    one = {name: values[:1] for name, values in other_table.items()}
    assert model.predict(one, **CPU).shape == (1, 3)
    with refused("no rows"):
        model.predict({name: values[:0] for name, values in other_table.items()})


def test_predicting_before_fit_is_a_warning(build, table):
    model = build("mmoe")
    with pytest.warns(InputWarning, match="has not been fitted"):
        model.predict(table, **CPU)
    with pytest.warns(InputWarning, match="has not been fitted"):
        model.evaluate(table, **CPU)


def test_predicting_keeps_mode_and_weights(model, table):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for mode in (True, False):
        model.train(mode)
        model.predict(table, **CPU)
        assert model.training is mode
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_dropout_is_off_in_predictions(build, train, table):
    model, _ = train(model=build("mmoe", tower_params={"dims": [8], "dropout": 0.9}))
    pd.testing.assert_frame_equal(model.predict(table, **CPU), model.predict(table, **CPU), check_exact=True)


def test_conditional_is_at_most_1_and_consistent(build, train, table):
    for objective in ("marginal", "entire_space", "click_space"):
        model, _ = train("mmoe", compiled={"objective": objective}, epochs=3)
        p = model.predict(table, **CPU)
        assert p.ge(0).all(axis=None)
        assert p.le(1).all(axis=None)
        if objective != "marginal":
            np.testing.assert_allclose(p["conversion"], p["click"] * p["conversion_given_click"], rtol=1e-12)
        else:
            ratio = np.minimum(1, p["conversion"] / p["click"])
            np.testing.assert_allclose(p["conversion_given_click"], ratio, rtol=1e-12)


def test_saved_model_keeps_the_objective_it_was_compiled_with(train, table, tmp_path):
    model, _ = train("mmoe", compiled={"objective": "click_space"})
    model.save(tmp_path)
    assert type(load_model(tmp_path).objective).__name__ == "ClickSpace"
    pd.testing.assert_frame_equal(load_model(tmp_path).predict(table, **CPU), model.predict(table, **CPU))
