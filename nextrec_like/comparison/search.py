"""Proposals of fixed weights to try on the validation rows."""

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np

from nextrec_like.errors import InputError

try:
    import optuna
except ModuleNotFoundError:  # the extra `search` is not installed
    optuna = None  # type: ignore[assignment]

Weights: TypeAlias = tuple[float, ...]
"""One weight per task; they sum to the number of tasks, as equal weights do."""

TPE_BATCH = 4
"""Proposals made at once, whatever the number of processes, so that a search does not depend on it."""


class Sampler(Protocol):
    """Where proposals come from."""

    def ask(self) -> list[Weights]:
        """The next weights to try; empty when the budget is spent."""

    def tell(self, scores: Sequence[float | None]) -> None:
        """Validation scores of the weights that were asked for last, higher is better; None where a run failed."""


class Listed:
    """Proposals that are known from the start.

    Args:
        proposals: All of them.
    """

    def __init__(self, proposals: list[Weights]) -> None:
        self.proposals = proposals

    def ask(self) -> list[Weights]:
        """All proposals, once."""
        proposals, self.proposals = self.proposals, []
        return proposals

    def tell(self, scores: Sequence[float | None]) -> None:
        """Nothing follows from the scores."""


class TreeParzen:
    """The tree-structured Parzen estimator of optuna over the simplex.

    Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NeurIPS 2011. The weights are exponential
    quantiles of uniform variables, scaled to their sum, so that without scores they are uniform over the simplex.

    Args:
        num_tasks: Number of tasks.
        trials: Number of proposals.
        seed: Of the proposals.
    """

    def __init__(self, num_tasks: int, trials: int, seed: int) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True, n_startup_trials=max(4, trials // 4))
        self.study = optuna.create_study(direction="maximize", sampler=sampler)
        self.num_tasks, self.left = num_tasks, trials
        self.asked: list[optuna.Trial] = []

    def ask(self) -> list[Weights]:
        """A few weights at once."""
        self.asked = [self.study.ask() for _ in range(min(TPE_BATCH, self.left))]
        self.left -= len(self.asked)
        shares = [[trial.suggest_float(f"task_{k}", 0.02, 0.98) for k in range(self.num_tasks)] for trial in self.asked]
        return [scaled(-np.log1p(-np.array(share))) for share in shares]

    def tell(self, scores: Sequence[float | None]) -> None:
        """Adds the scores to the study."""
        for trial, score in zip(self.asked, scores):
            if score is None:
                self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
            else:
                self.study.tell(trial, score)


def make_sampler(kind: str, num_tasks: int, trials: int, seed: int = 0) -> Sampler:
    """A sampler by its resolved name: ``grid``, ``random`` or ``tpe``."""
    if kind == "grid":
        return Listed(grid(trials))
    if kind == "random":
        return Listed(random_weights(num_tasks, trials, seed))
    return TreeParzen(num_tasks, trials, seed)


def resolve_sampler(kind: str, num_tasks: int) -> str:
    """The sampler that ``auto`` stands for here.

    Raises:
        InputError: For a grid over more than two tasks, or TPE without optuna.
    """
    if kind == "grid" and num_tasks != 2:
        raise InputError(f"`sampler: grid` is for two tasks, not {num_tasks}; use tpe, random or auto.")
    if kind == "tpe" and optuna is None:
        raise InputError("`sampler: tpe` needs optuna; install it with `pip install 'nextrec_like[search]'`.")
    if kind != "auto":
        return kind
    return "grid" if num_tasks == 2 else "random" if optuna is None else "tpe"


def grid(trials: int) -> list[Weights]:
    """Weights of two tasks at equal distances of the first one's share.

    An odd number is made even, because its middle would be equal weights, which are a candidate without a trial.
    """
    count = trials + trials % 2
    shares = (np.arange(count) + 1) / (count + 1)
    return [scaled(np.array([share, 1 - share])) for share in shares]


def random_weights(num_tasks: int, trials: int, seed: int) -> list[Weights]:
    """Weights drawn uniformly from the simplex (Bergstra and Bengio, JMLR 2012)."""
    drawn = np.random.default_rng(seed).dirichlet(np.ones(num_tasks), size=trials)
    return [scaled(np.maximum(weights, 0.01)) for weights in drawn]


def scaled(weights: np.ndarray) -> Weights:
    """The weights with the sum of equal ones, to four digits."""
    return tuple(round(float(weight), 4) for weight in weights * len(weights) / weights.sum())
