"""Optimizers of rows against torch's optimizers of whole or sparse tables, and against loops."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from nextrec_like.layers import select_rows
from nextrec_like.optim import ROW_OPTIMIZERS, TableRows

ROWS, WIDTH, STEPS = 30, 4, 7


@pytest.fixture(params=["each row once", "rows repeat, as on a GPU"])
def gather(request, monkeypatch):
    if request.param != "each row once":
        distinct = TableRows._distinct

        def repeating(self, rows):
            kept, position, _ = distinct(self, rows)
            first = torch.stack([(rows == row).nonzero()[-1, 0] for row in kept])  # any of its places will do
            return rows, first[position], True

        monkeypatch.setattr(TableRows, "_distinct", repeating)


def make_table():
    generator = torch.Generator().manual_seed(3)
    weight = nn.Parameter(torch.randn(ROWS, WIDTH, generator=generator))
    return SimpleNamespace(weight=weight, lookup=select_rows)


def batches():
    generator = torch.Generator().manual_seed(5)
    for _ in range(STEPS):
        yield (
            torch.randint(ROWS // 2, (6, 3), generator=generator),  # half of the rows are never read
            torch.randn(6, 3, WIDTH, generator=generator),
        )


def loss_of(embedded, target):
    return (embedded.tanh() * target).square().sum()


def train_rows(kind, parts=1, dtype=torch.float32, scale=1, **options):
    table = make_table()
    rows = TableRows(table)
    optimizer = ROW_OPTIMIZERS[kind]([rows], **options)
    for ids, target in batches():
        for own_ids, own_target in zip(ids.chunk(parts), target.to(dtype).chunk(parts)):
            (scale * loss_of(rows.lookup(table.weight, own_ids).to(dtype), own_target).float()).backward()
        rows.gradient().values.div_(scale)
        optimizer.step()
        rows.clear()
    return table.weight.detach(), optimizer


def train_torch(make, sparse):
    weight = make_table().weight
    optimizer = make([weight])
    for ids, target in batches():
        loss_of(F.embedding(ids, weight, sparse=sparse), target).backward()
        optimizer.step()
        optimizer.zero_grad()
    return weight.detach()


SAME = {
    "lazy_adam": (lambda w: torch.optim.SparseAdam(w, lr=0.05, betas=(0.8, 0.95)), True, {"betas": (0.8, 0.95)}),
    "adagrad": (lambda w: torch.optim.Adagrad(w, lr=0.05), True, {}),
    "sgd": (lambda w: torch.optim.SGD(w, lr=0.05), True, {}),
}


@pytest.mark.parametrize("kind", SAME)
@pytest.mark.parametrize("parts", [1, 3])
def test_rows_move_as_in_torch_with_sparse_gradients(kind, parts, gather):
    make, sparse, options = SAME[kind]
    own, _ = train_rows(kind, parts, lr=0.05, **options)
    torch.testing.assert_close(own, train_torch(make, sparse), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["adagrad", "sgd"])
def test_rows_move_as_in_torch_with_dense_gradients(kind, gather):
    own, _ = train_rows(kind, lr=0.05)
    torch.testing.assert_close(own, train_torch(SAME[kind][0], False), rtol=1e-6, atol=1e-7)


def test_adagrad_begins_where_torchs_does(gather):
    own, _ = train_rows("adagrad", lr=0.05, initial_accumulator_value=0.3)
    other = train_torch(lambda w: torch.optim.Adagrad(w, lr=0.05, initial_accumulator_value=0.3), False)
    torch.testing.assert_close(own, other, rtol=1e-6, atol=1e-7)


def train_torch_row_by_row(make):
    """Each row is a parameter, which torch leaves alone in steps that do not read it."""
    rows = [nn.Parameter(row) for row in make_table().weight.detach()]
    optimizer = make(rows)
    for ids, target in batches():
        loss_of(F.embedding(ids, torch.stack(rows)), target).backward()
        for number in set(range(ROWS)) - set(ids.flatten().tolist()):
            rows[number].grad = None
        optimizer.step()
        optimizer.zero_grad()
    return torch.stack(rows).detach()


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("adagrad", lambda rows: torch.optim.Adagrad(rows, lr=0.05, weight_decay=0.1)),
        ("sgd", lambda rows: torch.optim.SGD(rows, lr=0.05, weight_decay=0.1)),
    ],
)
def test_weight_decay_acts_on_the_rows_of_the_batch_as_in_torch(kind, make, gather):
    own, _ = train_rows(kind, lr=0.05, weight_decay=0.1)
    torch.testing.assert_close(own, train_torch_row_by_row(make), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ROW_OPTIMIZERS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2e-2), (torch.float16, 2e-3)])
def test_rows_move_under_16_bit_activations_nearly_as_under_32_bit_ones(kind, dtype, tolerance, gather):
    rough, optimizer = train_rows(kind, 2, dtype, scale=1024, lr=0.05)
    exact, _ = train_rows(kind, 2, lr=0.05)
    torch.testing.assert_close(rough, exact, rtol=0, atol=tolerance)
    assert all(value.dtype == torch.float32 for value in optimizer.state_dict()["state"].get(0, {}).values())


def looped(update):
    """Trains with an update of one row at a time: ``update(state, row, gradient, number of the step)``."""
    weight, states = make_table().weight, {}
    for number, (ids, target) in enumerate(batches(), 1):
        (gradient,) = torch.autograd.grad(loss_of(F.embedding(ids, weight), target), weight)
        with torch.no_grad():
            for row in ids.unique().tolist():
                weight[row] = update(states.setdefault(row, {}), weight[row].double(), gradient[row].double(), number)
    return weight.detach()


def test_rowwise_adagrad_keeps_one_sum_of_mean_squares_per_row(gather):
    def update(state, row, gradient, _):
        gradient = gradient + 0.1 * row
        state["sum"] = state.get("sum", 0.0) + (gradient**2).mean()
        return row - 0.05 * gradient / (state["sum"].sqrt() + 1e-10)

    own, optimizer = train_rows("rowwise_adagrad", lr=0.05, weight_decay=0.1)
    torch.testing.assert_close(own, looped(update), rtol=1e-5, atol=1e-6)
    assert [value.numel() for value in optimizer.state_dict()["state"][0].values()] == [ROWS]


@pytest.mark.parametrize("decoupled", [False, True])
def test_weight_decay_of_lazy_adam_acts_on_the_rows_of_the_batch(decoupled, gather):
    def update(state, row, gradient, number):
        gradient = gradient if decoupled else gradient + 0.1 * row
        row = row * (1 - 0.05 * 0.1) if decoupled else row
        mean = state["mean"] = 0.9 * state.get("mean", 0) + 0.1 * gradient
        square = state["square"] = 0.999 * state.get("square", 0) + 0.001 * gradient**2
        return row - 0.05 * (1 - 0.999**number) ** 0.5 / (1 - 0.9**number) * mean / (square.sqrt() + 1e-8)

    own, _ = train_rows("lazy_adam", lr=0.05, weight_decay=0.1, decoupled_weight_decay=decoupled)
    torch.testing.assert_close(own, looped(update), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ROW_OPTIMIZERS)
def test_rows_that_no_batch_reads_stay(kind, gather):
    own, optimizer = train_rows(kind, weight_decay=0.1)
    assert torch.equal(own[ROWS // 2 :], make_table().weight[ROWS // 2 :])
    for value in optimizer.state_dict()["state"].get(0, {}).values():
        assert value.dim() == 0 or not value[ROWS // 2 :].any()


@pytest.mark.parametrize("kind", ROW_OPTIMIZERS)
def test_step_that_is_not_to_be_taken_changes_nothing(kind, gather):
    table = make_table()
    rows = TableRows(table)
    optimizer = ROW_OPTIMIZERS[kind]([rows], weight_decay=0.1)
    states = []
    for (ids, target), found_inf in zip(batches(), (0.0, 1.0, 0.0)):
        loss_of(rows.lookup(table.weight, ids), target * (float("nan") if found_inf else 1)).backward()
        optimizer.found_inf = torch.tensor(found_inf)
        optimizer.step()
        rows.clear()
        states.append([table.weight.detach().clone(), *(v.clone() for v in optimizer.state[table.weight].values())])
    assert all(torch.equal(a, b) for a, b in zip(states[0], states[1]))
    assert not torch.equal(states[1][0], states[2][0])


def test_gradient_is_that_of_autograd_and_its_norm_counts_each_row_once(gather):
    table = make_table()
    rows, (ids, target) = TableRows(table), next(iter(batches()))
    for own_ids, own_target in zip(ids.chunk(2), target.chunk(2)):
        loss_of(rows.lookup(table.weight, own_ids), own_target).backward()
    (expected,) = torch.autograd.grad(loss_of(F.embedding(ids, table.weight), target), table.weight)
    assert rows.gradient().values.norm().item() == pytest.approx(expected.norm().item(), rel=1e-6)
    rows.write_dense()
    torch.testing.assert_close(table.weight.grad, expected)
    kept = table.weight.grad
    rows.clear()
    assert table.weight.grad is None
    assert not kept.any()


def test_look_up_without_gradients_makes_no_leaf():
    table = make_table()
    rows = TableRows(table)
    with torch.no_grad():
        assert torch.equal(rows.lookup(table.weight, torch.tensor([[1, 1]])), table.weight[1].expand(1, 2, WIDTH))
    table.weight.requires_grad_(False)
    rows.lookup(table.weight, torch.tensor([[1]]))
    assert rows.gradient() is None


class LargestNewTensor(TorchDispatchMode):
    size = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **(options or {}))
        given = {tensor.untyped_storage().data_ptr() for tensor in arguments if isinstance(tensor, torch.Tensor)}
        for tensor in result if isinstance(result, (list, tuple)) else [result]:
            if isinstance(tensor, torch.Tensor) and tensor.untyped_storage().data_ptr() not in given:
                self.size = max(self.size, tensor.numel())
        return result


@pytest.mark.parametrize("kind", ROW_OPTIMIZERS)
def test_step_makes_no_tensor_of_the_size_of_the_table(kind):
    table = SimpleNamespace(weight=nn.Parameter(torch.randn(10_000, WIDTH)), lookup=select_rows)
    rows = TableRows(table)
    optimizer = ROW_OPTIMIZERS[kind]([rows])

    def step():
        loss_of(rows.lookup(table.weight, torch.randint(10_000, (6, 3))), torch.ones(6, 3, WIDTH)).backward()
        optimizer.step()
        rows.clear()

    step()  # makes the state
    with LargestNewTensor() as largest:
        step()
    assert 0 < largest.size <= 6 * 3 * WIDTH
