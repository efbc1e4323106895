"""A data set by index, as torchvision's ImageFolder is: for a DataLoader that stays."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import torch.utils.data

import sterna.dataset
from sterna import errors


def pil_image(encoded: Any) -> Any:
    """An RGB PIL.Image of encoded bytes."""
    try:
        from PIL import Image
    except ImportError as e:
        raise ImportError(
            "sterna.torch.Dataset decodes with Pillow: pip install pillow, or give decode="
        ) from e
    with Image.open(io.BytesIO(encoded)) as image:
        return image.convert("RGB")


class Dataset(torch.utils.data.Dataset):
    """Pairs (image, label) by index, in the place of torchvision.datasets.ImageFolder:

        data = sterna.torch.Dataset("/data/pets", transform=transforms)
        DataLoader(data, batch_size=256, shuffle=True, num_workers=8)

    dataset           a sterna.Dataset, or a URL as sterna.open() takes
    transform         of an image; without, an image is what `decode` makes of it
    target_transform  of a label (int; sterna.NO_LABEL where there is none)
    field             which field is the image; the first one of kind image
    decode            of encoded bytes (memoryview); an RGB PIL.Image

    A DataLoader of torch 2 asks for a batch's samples at once; they are requested together.
    sterna.torch.Loader is faster: it reads ahead, over one set of connections, and can be resumed
    in the middle of an epoch.

    Pickles, and works in forked and spawned workers: each process opens the store for itself.
    Raises what sterna.Dataset.fetch() raises. Errors of decode and transform name the sample."""

    def __init__(
        self,
        dataset: sterna.dataset.Dataset | str | os.PathLike[str],
        transform: Callable[[Any], Any] | None = None,
        target_transform: Callable[[int], Any] | None = None,
        *,
        field: str | None = None,
        decode: Callable[[Any], Any] = pil_image,
    ) -> None:
        if not isinstance(dataset, sterna.dataset.Dataset):
            dataset = sterna.dataset.open(dataset)
        self.transform, self.target_transform, self.decode = transform, target_transform, decode
        self.field = _image_field(dataset.fields) if field is None else field
        self.classes: list[str] = dataset.classes
        self.class_to_idx: dict[str, int] = dataset.class_to_idx
        self.targets: list[int] = dataset.targets.tolist()
        self._dataset = dataset
        self._pid = os.getpid()

    @property
    def dataset(self) -> sterna.dataset.Dataset:
        """The sterna.Dataset behind, open in this process."""
        if self._pid != os.getpid():  # forked, or unpickled
            self._dataset = self._dataset.reopen()
            self._pid = os.getpid()
        return self._dataset

    @cached_property
    def samples(self) -> list[tuple[str, int]]:
        """Path, relative to the folder that was ingested, and label of each sample."""
        return list(zip(self.dataset.metadata(["path"])["path"], self.targets))

    @property
    def imgs(self) -> list[tuple[str, int]]:
        return self.samples

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[tuple[Any, Any]]:
        """Several at once: one wait for all of them."""
        n = len(self)
        rows = [int(index) for index in indices]
        for row in rows:
            if not -n <= row < n:
                raise IndexError(f"sample {row} of {n}")
        if not rows:
            return []
        ids = self.dataset.ids.take(row % n for row in rows)
        images = self.dataset.fetch(ids, fields=(self.field,)).field(self.field).samples()
        return [
            self._pair(image, self.targets[row], id) for image, row, id in zip(images, rows, ids)
        ]

    def _pair(self, encoded: Any, label: int, id: str) -> tuple[Any, Any]:
        if encoded is None:
            raise errors.NotFound(f"sample {id} has no {self.field}")
        try:
            image = self.decode(memoryview(encoded))
            if self.transform is not None:
                image = self.transform(image)
            target = label if self.target_transform is None else self.target_transform(label)
        except Exception as e:
            e.add_note(f"sample {id} of {self._dataset.url}")
            raise
        return image, target

    def __repr__(self) -> str:
        return f"sterna.torch.Dataset({self._dataset!r}, {len(self)} samples, {self.field!r})"


def _image_field(fields: dict[str, str]) -> str:
    for name, kind in fields.items():
        if kind == "image":
            return name
    raise errors.NotFound(f"no field of kind image: give field=, one of {', '.join(fields)}")
