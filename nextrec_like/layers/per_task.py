"""One module per task, under any task name."""

from collections.abc import Callable, Sequence

from torch import nn


class PerTask(nn.Module):
    """A dict from task name to module. Unlike `nn.ModuleDict` it accepts every name, such as ``a.b`` or ``keys``."""

    def __init__(self, names: Sequence[str], build: Callable[[str], nn.Module]) -> None:
        super().__init__()
        self._index = {name: str(position) for position, name in enumerate(names)}
        for name in names:
            self.add_module(self._index[name], build(name))

    def __getitem__(self, name: str) -> nn.Module:
        return self._modules[self._index[name]]  # type: ignore[return-value]

    @property
    def names(self) -> list[str]:
        """The tasks, in order."""
        return list(self._index)

    def task_of(self, position: str) -> str:
        """The task whose module has this name among `named_modules`."""
        return next(name for name, index in self._index.items() if index == position)
