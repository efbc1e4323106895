"""sterna for PyTorch: batches of tensors, without a copy, in place of a DataLoader.

    loader = sterna.torch.Loader("/data/pets", batch_size=256, seed=1)
    for epoch in range(loader.epoch, 90):
        for batch in loader:
            train(batch["image"].list(), batch["label"])
"""

from .dataset import Dataset
from .iterable import IterableDataset
from .loader import Loader, gather_state
from .ragged import Ragged
from .transform import TransformError

__all__ = ["Dataset", "IterableDataset", "Loader", "Ragged", "TransformError", "gather_state"]
