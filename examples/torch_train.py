#!/usr/bin/env python3
"""Trains a small network on the images of a store. It can be killed at any moment.

    examples/torch_train.py STORE --checkpoint run.pt
    examples/torch_train.py build/demo/store --epochs 5 --workers 2

Started again with the same --checkpoint, it goes on with the batch where it was, and with the very
numbers that it would have had: order, crops and flips depend on seed, epoch and sample only.

Needs torch, numpy and Pillow.
"""

import argparse
import io
import os

import numpy
import sterna
import sterna.torch
import torch
from PIL import Image
from torch import nn

SIDE = 32  # of what the network sees


def crop_and_flip(sample):
    """For training: a random part of the image, half of the time mirrored. Runs in a worker."""
    with Image.open(io.BytesIO(sample["image"])) as encoded:
        image = encoded.convert("RGB")
    width, height = image.size
    side = int(min(width, height) * (0.6 + 0.4 * torch.rand(1).item()))
    left = torch.randint(width - side + 1, (1,)).item()
    top = torch.randint(height - side + 1, (1,)).item()
    image = image.resize((SIDE, SIDE), box=(left, top, left + side, top + side))
    if torch.rand(1).item() < 0.5:
        image = image.transpose(Image.FLIP_LEFT_RIGHT)
    return pixels(image), sample["label"], sample["valid"]


def whole(sample):
    """For validation: nothing random."""
    with Image.open(io.BytesIO(sample["image"])) as encoded:
        image = encoded.convert("RGB").resize((SIDE, SIDE))
    return pixels(image), sample["label"], sample["valid"]


def pixels(image):
    """float32[3, SIDE, SIDE] around 0."""
    values = torch.from_numpy(numpy.array(image))
    return values.permute(2, 0, 1).float() / 127.5 - 1


def network(n_classes):
    def stage(n_in, n_out):
        return nn.Conv2d(n_in, n_out, 3, stride=2, padding=1), nn.BatchNorm2d(n_out), nn.ReLU()

    return nn.Sequential(
        *stage(3, 16), *stage(16, 32), *stage(32, 64), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(64, n_classes),
    )  # fmt: skip


def accuracy(model, loader):
    model.eval()
    right = n = 0
    with torch.no_grad():
        for images, labels, valid in loader:
            right += ((model(images).argmax(1) == labels) & valid).sum().item()
            n += valid.sum().item()
    model.train()
    return right / n


def save(path, **states):
    """Whole or not at all."""
    torch.save({name: state.state_dict() for name, state in states.items()}, path + ".new")
    os.replace(path + ".new", path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", help="a directory or cassandra://host/keyspace/dataset")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2, help="processes that decode")
    parser.add_argument("--order", choices=["strict", "arrival"], default="strict")
    parser.add_argument("--checkpoint", help="file to save to, and to go on from if it is there")
    parser.add_argument("--every", type=int, default=20, help="steps between checkpoints")
    args = parser.parse_args()

    torch.manual_seed(0)
    torch.set_num_threads(1)
    dataset = sterna.open(args.store)
    train, val = dataset.split({"train": 0.8, "val": 0.2}, seed=7)
    model = network(len(dataset.classes))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)

    options = {"batch_size": args.batch_size, "num_workers": args.workers}
    with (
        sterna.torch.Loader(
            train, seed=1, order=args.order, epochs=args.epochs, transform=crop_and_flip, **options
        ) as loader,
        sterna.torch.Loader(val, shuffle=False, transform=whole, **options) as val_loader,
    ):
        states = {"model": model, "optimizer": optimizer, "loader": loader}
        if args.checkpoint and os.path.exists(args.checkpoint):
            saved = torch.load(args.checkpoint)
            for name, state in states.items():
                state.load_state_dict(saved[name])
        step = 0
        while loader.epoch < args.epochs:
            epoch, total, n_batches = loader.epoch, 0.0, 0
            for images, labels, valid in loader:
                losses = nn.functional.cross_entropy(model(images), labels, reduction="none")
                loss = (losses * valid).sum() / valid.sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                step, total, n_batches = step + 1, total + loss.item(), n_batches + 1
                place = loader.state_dict()
                print(f"epoch {epoch} step {place['step']} loss {loss.item():.6f}", flush=True)
                if args.checkpoint and step % args.every == 0:
                    save(args.checkpoint, **states)
            right, chance = accuracy(model, val_loader), 1 / len(dataset.classes)
            print(
                f"epoch {epoch} mean loss {total / max(n_batches, 1):.4f} "
                f"accuracy {right:.3f} (chance {chance:.3f})",
                flush=True,
            )
        print(loader.stats().verdict)


if __name__ == "__main__":
    main()
