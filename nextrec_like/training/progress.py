"""What a training shows: a bar within an epoch, a table after it."""

import sys
import time
from collections.abc import Mapping

from tqdm.auto import tqdm

from nextrec_like.printable import printable, write_lines
from nextrec_like.training.history import EpochRecord, History

LOG_SECONDS = 30.0
"""Time between two progress lines where the output is not a terminal."""


class Progress:
    """Bar in a terminal or notebook, a line every 30 s in a log file, and one table per epoch.

    Args:
        epochs: Number of epochs.
        num_rows: Rows of an epoch.
        verbose: 0 is silent.

    Attributes:
        notes: Lines to print below the next table.
    """

    def __init__(self, epochs: int, num_rows: int, verbose: int) -> None:
        self.epochs, self.num_rows, self.verbose = epochs, num_rows, verbose
        self.interactive = sys.stderr.isatty() or "ipykernel" in sys.modules
        self.notes: list[str] = []
        self._shown: set[str] = set()
        self._bar: tqdm | None = None
        self._start = self._last = 0.0
        self._first = self._done = 0

    def start_epoch(self, epoch: int, rows_done: int = 0) -> None:
        """Opens the bar; of an epoch that goes on, some rows are done."""
        self._epoch, self._first, self._done = epoch, rows_done, rows_done
        self._start = self._last = time.monotonic()
        if self.verbose and self.interactive:
            self._bar = tqdm(
                total=self.num_rows,
                initial=rows_done,
                desc=f"epoch {epoch}/{self.epochs}",
                unit=" samples",
                unit_scale=True,
                leave=False,
            )

    def wants_loss(self) -> bool:
        """Whether it is time to show the loss, which costs a synchronisation with a GPU."""
        pause = 0.5 if self.interactive else LOG_SECONDS
        return bool(self.verbose) and time.monotonic() - self._last >= pause

    def advance(self, num_rows: int, loss: float | None) -> None:
        """Counts rows; shows the loss where one is given."""
        self._done += num_rows
        if self._bar is not None:
            self._bar.update(num_rows)
        if loss is None:
            return
        self._last = time.monotonic()
        if self._bar is not None:
            self._bar.set_postfix_str(f"loss {loss:.4f}", refresh=False)
        else:
            self._log_line(loss)

    def end_epoch(self, record: EpochRecord) -> None:
        """Closes the bar and prints the table."""
        self.close()
        reasons = [f"{task} {name}: {why}" for task, whys in record.reasons.items() for name, why in whys.items()]
        reasons += [
            f"{task} {name}: not exact over so many rows, see `error_bounds`"
            for task, bounds in record.error_bounds.items()
            for name in bounds
        ]
        new = [reason for reason in reasons if reason not in self._shown]
        self._shown.update(new)
        self.write("\n".join([epoch_table(record, self.epochs), *(f"  {reason}" for reason in new), *self.notes]))
        self.notes.clear()

    def write_conflicts(self, history: History) -> None:
        """Says for each pair of tasks how often their gradients conflicted, if that was probed."""
        shares = history.conflict_share()
        if shares:
            pairs = ", ".join(f"{task} and {other} {share:.0%}" for (task, other), share in shares.items())
            self.write(f"gradients in conflict (negative cosine), share of the logged steps: {pairs}")

    def close(self) -> None:
        """Closes the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def write(self, text: str) -> None:
        """Prints a message."""
        if self.verbose:
            write_lines(sys.stdout, text)

    def _log_line(self, loss: float) -> None:
        rate = (self._done - self._first) / (self._last - self._start)
        left = (self.num_rows - self._done) / rate
        self.write(
            f"epoch {self._epoch}/{self.epochs}  {self._done / self.num_rows:4.0%}  loss {loss:.4f}  "
            f"{rate:,.0f} samples/s  {left:.0f} s left"
        )


def epoch_table(record: EpochRecord, epochs: int) -> str:
    """A heading and one row per task."""
    metrics = list(dict.fromkeys(name for values in record.valid.values() for name in values))
    header = ["task", "weight", "loss", *(f"valid {name}" for name in metrics)]
    names = list(dict.fromkeys([*record.loss, *record.valid]))
    names.sort(key=lambda name: list(record.valid).index(name) if name in record.valid else -1)
    rows = [
        [name, *_own(record, name), *(_number(record.valid.get(name, {}).get(m)) for m in metrics)] for name in names
    ]
    title = (
        f"epoch {record.epoch}/{epochs}   {record.seconds:.1f} s   {record.samples_per_second:,.0f} samples/s   "
        f"lr {record.lr:.2g}"
    )
    if record.score is not None:
        title += f"   score {record.score:.5f}"
    return "\n".join([title, format_table(header, rows)])


def metrics_table(metrics: Mapping[str, Mapping[str, float | int | None]]) -> str:
    """One row per task, one column per metric."""
    names = list(dict.fromkeys(name for values in metrics.values() for name in values))
    rows = [[task, *(_number(values.get(name)) for name in names)] for task, values in metrics.items()]
    return format_table(["task", *names], rows)


def format_table(header: list[str], rows: list[list[str]]) -> str:
    """Columns aligned: the first to the left, the others to the right."""
    table = [[printable(cell) for cell in row] for row in [header, *rows]]
    widths = [max(map(len, column)) for column in zip(*table)]
    lines = []
    for row in table:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        lines.append("  " + "  ".join(cells).rstrip())
    return "\n".join(lines)


def _own(record: EpochRecord, name: str) -> list[str]:
    weight = record.weights.get(name)
    return ["" if weight is None else f"{weight:.3f}", _number(record.loss[name]) if name in record.loss else ""]


def _number(value: float | int | None) -> str:
    if value is None:
        return "-"
    return f"{value:,}" if isinstance(value, int) else f"{value:.5f}"
