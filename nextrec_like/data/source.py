"""What training, evaluation and prediction ask of a data set, wherever its rows are."""

from collections.abc import Generator, Iterator
from typing import Protocol

import numpy as np
import torch

from nextrec_like.batch import WHOLE, Batch, Share
from nextrec_like.data.packed import PackedData


class Rows(Protocol):
    """Rows in memory (`PackedData`) or in files (`StreamedData`)."""

    def __len__(self) -> int:
        """Number of rows."""

    @property
    def order(self) -> str:
        """What the order of a shuffled epoch depends on, besides the generator."""

    def fingerprint(self, *, labels: bool = True) -> dict[str, str]:
        """Digests: of the ``labels`` in order, from any source; of the ``values`` in memory, or of the ``files``.

        Without labels that of the former is left out.
        """

    def blocks(self) -> Iterator[PackedData]:
        """All rows in order, in blocks that fit in memory; without labels if they were not asked for."""

    def label_blocks(self) -> Iterator[np.ndarray]:
        """The labels in order, NaN where not observed, float64, shape ``(n, T)``; the same blocks for any source."""

    def batches(
        self,
        batch_size: int,
        device: torch.device,
        generator: torch.Generator | None = None,
        start: int = 0,
        share: Share = WHOLE,
    ) -> Generator[Batch, None, None]:
        """An epoch from its batch `start` on, on the device; in row order or, with a generator, shuffled.

        Processes share out each batch of `batch_size` rows, so that all of them take the same number of steps, no row
        comes twice and none is lost. The remainder: the last batch has the rows that are left, a single one of which
        joins the batch before, and `Share.of` cuts it like any other. Parts of a batch differ by at most one row; where
        it has fewer rows than there are processes, some have a batch of no rows. All processes draw alike from their
        generators, which have to be in the same state.
        """

    def sample(self, num_rows: int, device: torch.device, generator: torch.Generator, share: Share = WHOLE) -> Batch:
        """A batch that does not depend on the batches of the epoch; shared out as they are."""

    def spread(self, num_rows: int) -> list[PackedData]:
        """At most so many rows with their labels, in order, from all over the data; the same at each call.

        They come in pieces of neighbouring rows, or as a single piece if each row is drawn by itself.
        """

    def on(self, device: torch.device, device_data: bool | str = "auto") -> "Rows":
        """The same rows, on the device where they may be and fit."""
