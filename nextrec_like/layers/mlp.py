"""Multi-layer perceptrons: one, or many of the same shape side by side."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nextrec_like.errors import InputError, check_keys, number_in, one_of, positive_int

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "prelu": nn.PReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
NORMS = ("batch", "layer")


@dataclass(frozen=True)
class MLPParams:
    """Shape of an MLP: every hidden layer is linear, norm, activation, dropout.

    Args:
        dims: Width of each layer; empty means no layer.
        activation: A key of `ACTIVATIONS`.
        dropout: Share of units that is dropped in training, in [0, 1).
        norm: ``batch``, ``layer`` or None.
    """

    dims: tuple[int, ...]
    activation: str = "relu"
    dropout: float = 0.0
    norm: str | None = None

    @classmethod
    def of(cls, params: "MLPParams | Mapping[str, object]", parameter: str) -> "MLPParams":
        """Params from what the user gave for `parameter`, checked.

        Raises:
            InputError: For an unknown key, with the closest one, or a value out of range.
        """
        if isinstance(params, Mapping):
            check_keys(f"key of `{parameter}`", params, [field.name for field in fields(cls)])
            if "dims" not in params:
                raise InputError(f"`{parameter}` needs the key `dims`, a list of layer widths such as [64, 32].")
            dims = params["dims"].tolist() if hasattr(params["dims"], "tolist") else params["dims"]
            listed = tuple(dims) if isinstance(dims, (list, tuple)) else (dims,)
            params = cls(**{**params, "dims": listed})  # type: ignore[arg-type]
        if not isinstance(params, MLPParams):
            raise InputError(f"`{parameter}` should be a dict such as {{'dims': [64, 32]}}. Received {params!r}.")
        return params._checked(parameter)

    def not_empty(self, parameter: str) -> "MLPParams":
        """The params, if they describe at least one layer."""
        if not self.dims:
            raise InputError(f"`{parameter}.dims` is empty; give at least one layer width, such as [64].")
        return self

    def as_dict(self) -> dict[str, object]:
        """The params as JSON-ready values."""
        return {"dims": list(self.dims), "activation": self.activation, "dropout": self.dropout, "norm": self.norm}

    def _checked(self, parameter: str) -> "MLPParams":
        dims = tuple(positive_int(f"Each width in `{parameter}.dims`", dim) for dim in self.dims)
        one_of(f"activation in `{parameter}`", self.activation, ACTIVATIONS)
        if self.norm is not None:
            one_of(f"norm in `{parameter}`", self.norm, NORMS)
        return replace(self, dims=dims, dropout=number_in(f"`{parameter}.dropout`", self.dropout, 0, 1))


def hidden_layers(
    in_dim: int,
    params: MLPParams,
    linear: Callable[[int, int], nn.Module],
    norm: Callable[[str, int], nn.Module],
) -> list[nn.Module]:
    """The layers that params describe, in order.

    Args:
        in_dim: Width of the input.
        params: Widths, activation, dropout and norm.
        linear: Makes a linear layer from its two widths.
        norm: Makes a normalisation from its kind and width.
    """
    layers: list[nn.Module] = []
    for before, dim in pairwise((in_dim, *params.dims)):
        layers.append(linear(before, dim))
        if params.norm is not None:
            layers.append(norm(params.norm, dim))
        layers.append(ACTIVATIONS[params.activation]())
        if params.dropout > 0:
            layers.append(nn.Dropout(params.dropout))
    return layers


class MLP(nn.Sequential):
    """Hidden layers, ``(B, in_dim) -> (B, out_dim)``."""

    def __init__(self, in_dim: int, params: MLPParams) -> None:
        super().__init__(*hidden_layers(in_dim, params, nn.Linear, _norm))
        self.out_dim = params.dims[-1] if params.dims else in_dim

    def last_linear(self) -> nn.Linear:
        """The last linear layer."""
        return next(layer for layer in reversed(self) if isinstance(layer, nn.Linear))


def _norm(kind: str, dim: int) -> nn.Module:
    return nn.BatchNorm1d(dim) if kind == "batch" else nn.LayerNorm(dim)


class Tower(nn.Module):
    """Hidden layers of one task and its logit, ``(B, in_dim) -> (B,)``."""

    def __init__(self, in_dim: int, params: MLPParams) -> None:
        super().__init__()
        self.hidden = MLP(in_dim, params)
        self.logit = nn.Linear(self.hidden.out_dim, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logit(self.hidden(x)).squeeze(-1)


class ParallelLinear(nn.Module):
    """E linear maps, ``(B, in_dim)`` or ``(B, E, in_dim) -> (B, E, out_dim)``, as one matrix product."""

    def __init__(self, num: int, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num, out_dim, in_dim))
        self.bias = nn.Parameter(torch.empty(num, out_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Each map as `nn.Linear` initialises it."""
        bound = self.weight.shape[-1] ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        return parallel_linear(x, self.weight, self.bias)  # (B, E, out)


def parallel_linear(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """E linear maps as one matrix product, ``(B, E, out_dim)``.

    Args:
        x: One input for all, shape ``(B, in_dim)``, or one for each, shape ``(B, E, in_dim)``.
        weight: Shape ``(E, out_dim, in_dim)``.
        bias: Shape ``(E, out_dim)``.
    """
    if x.dim() == 2:
        out = F.linear(x, weight.flatten(0, 1), bias.flatten())  # (B, E * out)
        return out.unflatten(-1, bias.shape)  # (B, E, out)
    out = torch.baddbmm(bias.unsqueeze(1), x.transpose(0, 1), weight.transpose(1, 2))  # (E, B, out)
    return out.transpose(0, 1)  # (B, E, out)


class ParallelNorm(nn.Module):
    """Batch or layer normalisation of E outputs, each with its own scale and shift, ``(B, E, H) -> (B, E, H)``."""

    def __init__(self, num: int, kind: str, dim: int) -> None:
        super().__init__()
        self.batch = nn.BatchNorm1d(num * dim, affine=False) if kind == "batch" else None
        self.scale = nn.Parameter(torch.ones(num, dim))
        self.shift = nn.Parameter(torch.zeros(num, dim))

    def reset_parameters(self) -> None:
        """Scale 1, shift 0."""
        nn.init.ones_(self.scale)
        nn.init.zeros_(self.shift)

    def forward(self, x: Tensor) -> Tensor:
        if self.batch is not None:
            normed = self.batch(x.flatten(1)).unflatten(-1, self.scale.shape)
        else:
            normed = F.layer_norm(x, x.shape[-1:])
        return normed * self.scale + self.shift  # (B, E, H)
