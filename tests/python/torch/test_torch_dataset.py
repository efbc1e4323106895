"""Samples by index, as ImageFolder gives them, in every kind of DataLoader's workers."""

import os
import pickle

import pytest
import sterna
import sterna.torch
import torch
import torch_support
from torch.utils.data import DataLoader

Image = pytest.importorskip("PIL.Image")

N = 60


@pytest.fixture
def data(url):
    return sterna.torch.Dataset(url, transform=torch_support.size_and_corner)


def test_it_looks_like_an_image_folder(data, ds, photos):
    assert len(data) == N
    assert data.classes == ["class0", "class1", "class2"]
    assert data.class_to_idx == {"class0": 0, "class1": 1, "class2": 2}
    assert data.targets == [label for _, label in data.samples] == ds.targets.tolist()
    assert [path for path, _ in data.imgs] == ds.metadata(["path"])["path"]


def test_an_item_is_an_image_and_its_label(url, photos):
    import io

    data = sterna.torch.Dataset(url, target_transform=str)
    for index in 0, 3, -1:
        image, label = data[index]
        path, target = data.samples[index]
        want = Image.open(io.BytesIO(photos[path])).convert("RGB")
        assert (image.mode, image.size, label) == ("RGB", want.size, str(target))
        assert image.tobytes() == want.tobytes()
    with pytest.raises(IndexError):
        data[N]


def test_items_at_once_are_the_same(data):
    rows = [5, 2, 59, 2]
    for (image, label), row in zip(data.__getitems__(rows), rows):
        assert torch.equal(image, data[row][0]) and label == data[row][1]
    assert data.__getitems__([]) == []


@pytest.mark.parametrize("context", [None, "fork", "spawn"])
def test_behind_a_dataloader(data, context):
    want = [data[i] for i in range(N)]
    loader = DataLoader(
        data, 16, num_workers=0 if context is None else 2, multiprocessing_context=context
    )
    images, labels = zip(*loader)
    assert torch.equal(torch.cat(images), torch.stack([image for image, _ in want]))
    assert torch.cat(labels).tolist() == [label for _, label in want]


def test_a_part_of_a_data_set(ds):
    part = ds.where("label = 1")
    data = sterna.torch.Dataset(part)
    assert len(data) == len(part) == 20 and set(data.targets) == {1}


def test_it_pickles(data):
    copy = pickle.loads(pickle.dumps(data))
    assert torch.equal(copy[7][0], data[7][0])


def test_a_forked_child_opens_it_again(data):
    want = data[7][0]
    pid = os.fork()
    if pid == 0:
        os._exit(0 if torch.equal(data[7][0], want) else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_failures_name_the_sample(url, ds):
    data = sterna.torch.Dataset(url, transform=torch_support.fail_always)
    with pytest.raises(ValueError) as caught:
        data[4]
    assert ds.ids[4] in caught.value.__notes__[0]
    with pytest.raises(sterna.NotFound):
        sterna.torch.Dataset(url, field="picture")[0]
