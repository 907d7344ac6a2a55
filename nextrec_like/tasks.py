"""What the label columns of a table mean."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from nextrec_like.errors import InputError, did_you_mean, one_of, warn
from nextrec_like.features import check_name

KINDS = ("binary", "regression")


@dataclass(frozen=True)
class Task:
    """One quantity to predict.

    Args:
        name: Name in losses, metrics and predictions.
        label: Label column; by default the name. A missing value (NaN) means "not observed".
        kind: ``binary`` (labels 0 and 1) or ``regression``.
        parent: Task that must happen first, such as ``click`` for a conversion.
        source: Column that the label was derived from, which therefore must not be a feature.
    """

    name: str
    label: str | None = None
    kind: str = "binary"
    parent: str | None = None
    source: str | None = None

    def __post_init__(self) -> None:
        check_name("Task", self.name)
        one_of(f"kind of task `{self.name}`", self.kind, KINDS)
        for what in ("label", "parent", "source"):
            if getattr(self, what) is not None:
                check_name(f"The {what} of task `{self.name}`: column or task", getattr(self, what))

    @property
    def column(self) -> str:
        """The label column."""
        return self.label or self.name


class TaskSet:
    """The tasks of a model in order, checked against each other and, by `check_features`, the features.

    Raises:
        InputError: For duplicate names, or a parent that is unknown, not binary or circular.
    """

    def __init__(self, tasks: Sequence[Task]) -> None:
        if not tasks:
            raise InputError("A model needs at least one task; `target` is empty.")
        duplicates = [name for name, count in Counter(task.name for task in tasks).items() if count > 1]
        if duplicates:
            raise InputError(f"Task `{duplicates[0]}` is defined more than once; names must be unique.")
        self._by_name = {task.name: task for task in tasks}
        for task in tasks:
            self._check_parents(task)
        self._check_outputs()

    def __iter__(self) -> Iterator[Task]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def __getitem__(self, name: str) -> Task:
        return self._by_name[name]

    @property
    def names(self) -> list[str]:
        return list(self._by_name)

    def parent(self, task: Task) -> Task | None:
        """The task that must happen first, if any."""
        return None if task.parent is None else self._by_name[task.parent]

    def chain(self, task: Task) -> list[Task]:
        """The task and all its ancestors, from the root of the funnel down to the task."""
        parent = self.parent(task)
        return [task] if parent is None else [*self.chain(parent), task]

    def as_funnel(self) -> "TaskSet":
        """The same tasks; if none has a parent, each gets the task before it as its parent."""
        tasks = list(self)
        if any(task.parent for task in tasks):
            return self
        return TaskSet([tasks[0], *(replace(task, parent=before.name) for before, task in pairwise(tasks))])

    def check_features(self, feature_names: Sequence[str]) -> None:
        """Raises if a label, or the column it was derived from, is used as a feature."""
        for task in self:
            if task.column in feature_names:
                raise InputError(
                    f"Feature `{task.column}` is the label of task `{task.name}`, so the model would read the "
                    f"answer; remove it from the features."
                )
            if task.source in feature_names:
                raise InputError(
                    f"Feature `{task.source}` is the column that the label of task `{task.name}` was derived from; "
                    f"remove it from the features."
                )

    def _check_parents(self, task: Task) -> None:
        seen = [task.name]
        while task.parent is not None:
            if task.parent not in self._by_name:
                raise InputError(
                    f"Task `{task.name}` has parent `{task.parent}`, which is not a task."
                    f"{did_you_mean(task.parent, self._by_name)} Tasks: {', '.join(self._by_name)}."
                )
            task = self._by_name[task.parent]
            if task.kind != "binary":
                raise InputError(f"Task `{task.name}` is the parent of `{seen[-1]}`, so it must be of kind `binary`.")
            if task.name in seen:
                raise InputError(f"Task `{task.name}` is its own ancestor: {' -> '.join([*seen, task.name])}.")
            seen.append(task.name)

    def conditional_name(self, task: Task) -> str:
        """Name of p(task given its parent) in metrics and predictions, such as ``conversion_given_click``."""
        return f"{task.name}_given_{task.parent}"

    def _check_outputs(self) -> None:
        taken = {name: f"task `{name}`" for name in self._by_name}
        for task in self:
            if task.parent is None:
                continue
            name, owner = self.conditional_name(task), f"task `{task.name}` where its parent `{task.parent}` happened"
            if name in taken:
                raise InputError(f"The name `{name}` would stand for {taken[name]} and for {owner}; rename one.")
            taken[name] = owner


def build_tasks(target: Sequence[str | Task] | str | Task, task: Sequence[str] | str | None = None) -> TaskSet:
    """Tasks from label columns and an optional parallel list of task names or kinds.

    Args:
        target: Label columns or `Task` objects.
        task: For each target its task name, or its kind (``binary`` or ``regression``).

    Raises:
        InputError: If the two lists differ in length, or a name is given for a `Task` object.
    """
    for parameter, value in {"target": target, "task": task if task is not None else ()}.items():
        if not isinstance(value, (Iterable, Task)) or isinstance(value, Mapping):
            raise InputError(f"`{parameter}` should be a list. Received {value!r}.")
    targets = [target] if isinstance(target, (str, Task)) else list(target)
    words = [task] if isinstance(task, str) else list(task) if task is not None else [None] * len(targets)
    if len(words) != len(targets):
        raise InputError(f"`task` has {len(words)} entries for {len(targets)} targets; give one for each.")
    return TaskSet([_build_task(item, word) for item, word in zip(targets, words)])


def _build_task(target: str | Task, word: str | None) -> Task:
    if isinstance(target, Task):
        if word not in (None, target.name, target.kind):
            raise InputError(f"`task` says `{word}` for the target {target!r}; a Task object already has a name.")
        return target
    check_name("Label column", target)
    if word is None:
        return Task(target)
    if word in KINDS:
        return Task(target, kind=word)
    if did_you_mean(word, KINDS):
        warn(f"`task` says `{word}` for the target `{target}`, which is taken as its name.{did_you_mean(word, KINDS)}")
    return Task(word, label=target)
