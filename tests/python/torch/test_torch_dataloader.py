"""Behind a DataLoader of torch's, torchdata's stateful one, and in checkpoints of torch's own."""

import warnings

import pytest
import sterna
import sterna.torch
import torch
import torch_support
from torch.utils.data import DataLoader
from torch_support import same, valid_indices

N = 60


def loader_of(ds, **options):
    return sterna.torch.Loader(ds, 7, **{"seed": 1, **options})


def test_without_workers_it_is_the_loader(ds):
    with loader_of(ds) as loader, loader_of(ds) as behind:
        data = DataLoader(behind.as_iterable_dataset(), batch_size=None)
        assert len(data) == len(loader)
        for _ in range(2):
            assert all(map(same, loader, data))
        assert behind.epoch == 2


@pytest.mark.parametrize("context, n_workers", [("fork", 2), ("spawn", 1)])
def test_workers_share_the_samples(ds, context, n_workers):
    with loader_of(ds, uneven="exact", transform=torch_support.first_bytes) as loader:
        dataset = loader.as_iterable_dataset()
        data = DataLoader(
            dataset, batch_size=None, num_workers=n_workers, multiprocessing_context=context
        )
        epochs = []
        for epoch in range(2):
            dataset.set_epoch(epoch)
            epochs.append([index for batch in data for index in valid_indices(batch)])
            assert sorted(epochs[-1]) == list(range(N))
        assert epochs[0] != epochs[1]


def test_persistent_workers_go_on_to_the_next_epoch(ds):
    with loader_of(ds) as loader:
        data = DataLoader(
            loader.as_iterable_dataset(), batch_size=None, num_workers=1, persistent_workers=True
        )
        epochs = [[valid_indices(batch) for batch in data] for _ in range(2)]
        assert epochs == [[valid_indices(batch) for batch in loader] for _ in range(2)]


def warns_once(dataset):
    """In a worker: the warnings of two epochs."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            for _ in dataset.inner:
                pass
    return [str(warning.message) for warning in caught]


class Warned(torch.utils.data.IterableDataset):
    def __init__(self, inner):
        self.inner = inner

    def __iter__(self):
        yield warns_once(self)


def test_workers_are_advised_against_once(ds):
    with loader_of(ds) as loader:
        data = DataLoader(Warned(loader.as_iterable_dataset()), batch_size=None, num_workers=2)
        messages = list(data)
    assert sum(map(len, messages)) == 1
    assert "num_workers=0 is faster" in messages[0][0]


def test_torchdatas_stateful_loader(ds):
    stateful = pytest.importorskip("torchdata.stateful_dataloader")

    def data_of(loader):
        return stateful.StatefulDataLoader(loader.as_iterable_dataset(), batch_size=None)

    with loader_of(ds) as loader:
        whole = list(loader)
    for k in range(1, len(whole)):
        with loader_of(ds) as first, loader_of(ds) as second:
            before = data_of(first)
            batches = iter(before)
            got = [next(batches) for _ in range(k)]
            after = data_of(second)
            after.load_state_dict(before.state_dict())
            got += list(after)
            assert len(got) == len(whole) and all(map(same, got, whole))


def test_a_distributed_checkpoint(ds, tmp_path):
    dcp = pytest.importorskip("torch.distributed.checkpoint")
    if not hasattr(dcp, "save"):
        pytest.skip("this torch has no torch.distributed.checkpoint.save()")
    with loader_of(ds) as first, loader_of(ds) as second:
        whole = list(first)
        first.set_epoch(0)
        batches = iter(first)
        for _ in range(3):
            next(batches)
        dcp.save({"data": first, "weight": torch.ones(3)}, checkpoint_id=tmp_path, no_dist=True)
        dcp.load({"data": second, "weight": torch.zeros(3)}, checkpoint_id=tmp_path, no_dist=True)
        rest = list(second)
        assert len(rest) == len(whole) - 3 and all(map(same, rest, whole[3:]))
