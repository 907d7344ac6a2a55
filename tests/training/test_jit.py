"""Compiled models: the same training up to rounding, and one warning where it cannot be had."""

import warnings
from functools import partial

import pytest
import torch

from nextrec_like import Callback
from nextrec_like.errors import InputWarning
from nextrec_like.training.forward import Forward

COMPILER = torch._dynamo.exc.TorchDynamoException


def weights(model):
    return torch.cat([value.flatten() for value in model.state_dict().values()])


def test_compiled_training_is_the_same_up_to_rounding(train):
    options = {"epochs": 2, "batch_size": 100}  # 240 rows: the last batch of an epoch is smaller
    plain, plain_history = train("mmoe", **options)
    compiled, history = train("mmoe", compiled={"jit": True}, **options)
    torch.testing.assert_close(weights(compiled), weights(plain), rtol=1e-4, atol=1e-5)
    assert history.epochs[-1].loss["click"] == pytest.approx(plain_history.epochs[-1].loss["click"], rel=1e-4)


def test_failing_compiler_is_one_warning_and_changes_nothing(train, monkeypatch):
    calls = []

    def compile_without_compiler(function, **options):
        def call(*arguments):
            calls.append(1)
            raise COMPILER("no C++ compiler\nlong story")

        return call

    plain, _ = train("mmoe", epochs=2)
    monkeypatch.setattr(torch, "compile", compile_without_compiler)
    with pytest.warns(InputWarning) as caught:
        fallen_back, _ = train("mmoe", compiled={"jit": True}, epochs=2)
    assert [str(each.message) for each in caught if "jit" in str(each.message)] == [
        "`jit` has no effect, because torch.compile failed here: no C++ compiler"
    ]
    assert len(calls) == 1
    assert torch.equal(weights(plain), weights(fallen_back))


@pytest.mark.parametrize(
    ("compiled", "options"),
    [({"loss_weights": "grad_norm"}, {}), ({}, {"diagnose": True})],
    ids=["probes", "diagnosis"],
)
def test_gradients_of_single_tasks_need_the_model_as_it_is(compiled, options, train, monkeypatch):
    monkeypatch.setattr(torch, "compile", None)
    plain, _ = train("mmoe", compiled=compiled)
    with pytest.warns(InputWarning, match="`jit` has no effect: gradients of single tasks"):
        model, _ = train("mmoe", compiled={**compiled, "jit": True}, **options)
    assert torch.equal(weights(plain), weights(model))


def test_every_training_of_a_process_is_compiled(train, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))
    torch.compiler.reset()
    counters = torch._dynamo.utils.counters["stats"]
    seen = []
    for size in range(20, 32):  # torch gives up a function at the ninth size
        before = counters["unique_graphs"]
        train("shared_bottom", compiled={"jit": True}, batch_size=size)
        seen.append(counters["unique_graphs"] > before)
    torch.compiler.reset()
    assert all(seen)


def test_folder_of_the_compiler_that_cannot_be_written_is_a_warning(train, monkeypatch):
    def compile_nowhere(function, **options):
        def call(*arguments):
            raise PermissionError(13, "Permission denied", "/var/cache")

        return call

    monkeypatch.setattr(torch, "compile", compile_nowhere)
    with pytest.warns(
        InputWarning, match="`jit` has no effect, because torch.compile failed here: .*Permission denied"
    ):
        train("mmoe", compiled={"jit": True})


def test_parts_of_a_batch_do_not_share_a_graph_on_a_gpu(build, monkeypatch):
    modes = []
    monkeypatch.setattr(torch, "compile", lambda function, **options: modes.append(options["mode"]))
    model, device = build("mmoe"), torch.device("cuda")
    for in_parts in (False, True):
        Forward(model, model.objective, device, torch.float32, jit=True, in_parts=in_parts)
    assert modes == ["reduce-overhead", None]


def test_error_of_the_model_is_not_taken_for_one_of_the_compiler(build, train, monkeypatch):
    model = build("mmoe")

    def broken(*arguments):
        raise ZeroDivisionError("the user's own")

    monkeypatch.setattr(torch, "compile", lambda function, **options: function)
    monkeypatch.setattr(type(model), "forward", broken)
    with warnings.catch_warnings(), pytest.raises(ZeroDivisionError, match="own"):
        train(model=model, compiled={"jit": True})


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_jit_is_true_or_false(value, build, refused):
    with refused("`jit`", repr(value)):
        build("mmoe").compile(jit=value)


def test_a_resumed_training_compiles_batches_of_the_same_size(train, tmp_path):
    class Interrupt(Callback):
        def on_step_end(self, trainer):
            if trainer.totals.steps == 4:
                raise KeyboardInterrupt

    options = {"compiled": {"jit": True}, "epochs": 2, "batch_size": 50}  # 4 batches of 50 rows, and one of 40
    straight, _ = train("mmoe", **options)
    saved = {"checkpoint_dir": tmp_path, "checkpoint_params": {"every_steps": 4}}
    with pytest.raises(KeyboardInterrupt):
        train("mmoe", **options, **saved, callbacks=[Interrupt()])
    resumed, _ = train("mmoe", **options, **saved, resume=True)
    states = (straight.state_dict(), resumed.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
