"""What TorchRec can do on the CPU, and what it cannot."""

from collections.abc import Mapping

from nextrec_like.errors import InputError, number_in, one_of

SHARDINGS = {"auto": ("table_wise", "column_wise"), "table_wise": ("table_wise",), "column_wise": ("column_wise",)}
"""For `compile(sharding=...)`: the ways that TorchRec may share out a table. ``table_wise``: whole, to one process."""
ALIGNED = 4
"""FBGEMM reads so many numbers of a row at a time."""
FUSED: dict[str, dict[str, float]] = {
    "sgd": {"lr": 1e-3},
    "adagrad": {"lr": 1e-2, "eps": 1e-10, "initial_accumulator_value": 0.0},
    "rowwise_adagrad": {"lr": 0.1, "eps": 1e-10, "initial_accumulator_value": 0.0},
}
"""What FBGEMM updates tables with on the CPU, and the options, with the defaults of `ROW_OPTIMIZERS`."""


def ways_to_shard(sharding: object, kind: str) -> tuple[str, ...]:
    """The ways in which TorchRec may share out tables.

    Args:
        sharding: A key of `SHARDINGS`.
        kind: A key of `FUSED`.

    Raises:
        InputError: If there is none.
    """
    if sharding == "row_wise":
        raise InputError(
            "`sharding` is row_wise, which TorchRec has on GPUs only, while sharded tables are on the CPU so far; use "
            "column_wise, which cuts single tables as well."
        )
    ways = SHARDINGS[one_of("sharding", sharding, SHARDINGS)]
    if kind != "rowwise_adagrad":
        return ways
    if ways == ("column_wise",):
        raise InputError(
            "`embedding_optimizer` is rowwise_adagrad, which has one number for each row, and `sharding` column_wise "
            "cuts rows; use adagrad, or table_wise."
        )
    return ("table_wise",)


def fused_options(kind: str, options: Mapping[str, object]) -> dict[str, float]:
    """All options of a fused optimizer.

    Args:
        kind: A key of `ROW_OPTIMIZERS`, or ``dense``.
        options: Those given, as that optimizer takes them.

    Raises:
        InputError: If FBGEMM has no such optimizer or option on the CPU.
    """
    if kind not in FUSED:
        raise InputError(
            f"With `sharding`, FBGEMM updates tables in the backward pass, and on the CPU it has no {kind}; give an "
            f"`embedding_optimizer`: {', '.join(FUSED)}."
        )
    for name, value in options.items():
        if name not in FUSED[kind] and value:
            raise InputError(f"With `sharding`, {kind} has no `{name}` (FBGEMM has none on the CPU); leave it out.")
    given = {name: number_in(f"`{name}`", value) for name, value in options.items() if name in FUSED[kind]}
    return {**FUSED[kind], **given}


def check_steps(*, accumulate_steps: int, clip_norm: float | None, precision: str, jit: bool) -> None:
    """Raises for what needs the gradient of a table before the table moves, or once more.

    Raises:
        InputError: Says what to do.
    """
    refused = {
        "accumulate_steps": (accumulate_steps > 1, "would update them once for each part; take more processes"),
        "clip_norm": (clip_norm is not None, "would come too late; lower the learning rate"),
        "precision": (precision == "fp16", "fp16 would update them by scaled gradients; take bf16 or fp32"),
        "jit": (jit, "cannot compile their look-ups; leave it out"),
    }
    for name, (is_on, why) in refused.items():
        if is_on:
            raise InputError(f"With `sharding`, tables move in the backward pass, where `{name}` {why}.")
