"""The rows of a part that an audit looks at."""

from dataclasses import dataclass

import numpy as np

from nextrec_like.data.packed import PackedData, join
from nextrec_like.data.source import Rows

MAX_ROWS = 100_000


@dataclass(frozen=True)
class Part:
    """Training rows, or those of another part.

    Attributes:
        name: Such as ``valid``.
        sample: At most `MAX_ROWS` rows from all over the part.
        places: Number of the piece of neighbouring rows that each came in, shape ``(n,)``; None if each was drawn by
            itself, or all were.
        known: All rows if they are in memory, otherwise the sample: what a finding is confirmed on.
        num_rows: Number of all rows.
    """

    name: str
    sample: PackedData
    places: np.ndarray | None
    known: PackedData
    num_rows: int

    @classmethod
    def of(cls, name: str, rows: Rows) -> "Part":
        pieces = rows.spread(MAX_ROWS)
        if isinstance(rows, PackedData):
            return cls(name, pieces[0], None, rows, len(rows))
        sample, lengths = join(pieces), [len(piece) for piece in pieces]
        places = None if sum(lengths) == len(rows) else np.repeat(np.arange(len(pieces)), lengths)
        return cls(name, sample, places, sample, len(rows))

    @property
    def is_complete(self) -> bool:
        """Whether all rows are known."""
        return len(self.known) == self.num_rows

    @property
    def note(self) -> str:
        """Where a confirmed finding holds, if not in all rows."""
        return "" if self.is_complete else f" in a sample of {len(self.known):,} rows"
