"""A loader as an IterableDataset, for code that must have a DataLoader."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch.utils.data

from sterna.state import StateDict, StateLike

if TYPE_CHECKING:
    from .loader import Loader


class IterableDataset(torch.utils.data.IterableDataset):
    """Batches of a loader, for `DataLoader(dataset, batch_size=None, num_workers=0)`.

    With num_workers > 0 each worker process opens the store for itself and reads its own share of
    the rank's samples (once each in an epoch, all together), in batches of the loader's size. It is
    slower than the loader's own threads, which need no processes. Workers that are not
    persistent begin with the loader's epoch each time: call set_epoch()."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._mine: Loader | None = None  # a worker's

    @property
    def loader(self) -> Loader:
        """The one that batches come from: in a DataLoader's worker, the worker's."""
        worker = torch.utils.data.get_worker_info()
        if worker is None:
            return self._loader
        if self._mine is None:
            self._mine = self._loader.for_worker(worker.id, worker.num_workers)
            if worker.id == 0:
                warnings.warn(
                    f"{worker.num_workers} DataLoader workers open {self._loader.dataset.url} once "
                    "each: num_workers=0 is faster, the loader reads with threads of its own"
                )
        return self._mine

    def __iter__(self) -> Iterator[Any]:
        return iter(self.loader)

    def __len__(self) -> int:
        return len(self.loader)

    def set_epoch(self, epoch: int) -> None:
        self.loader.set_epoch(epoch)

    def state_dict(self) -> StateDict:
        return self.loader.state_dict()

    def load_state_dict(self, state: StateLike) -> None:
        self.loader.load_state_dict(state)
