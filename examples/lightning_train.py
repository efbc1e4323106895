#!/usr/bin/env python3
"""Trains with PyTorch Lightning, whose Trainer saves and restores the loader's state by itself.

    examples/lightning_train.py STORE --folder runs --devices 2
    examples/lightning_train.py STORE --folder runs --devices 2 --resume runs/last.ckpt

Needs lightning (or pytorch-lightning), numpy and Pillow.
"""

import argparse

import sterna
import sterna.torch
import torch
from torch import nn
from torch_train import crop_and_flip, network, whole

try:
    import lightning.pytorch as pl
except ImportError:
    import pytorch_lightning as pl


class Data(pl.LightningDataModule):
    def __init__(self, store, batch_size, order="strict"):
        super().__init__()
        self.store, self.batch_size, self.order = store, batch_size, order

    def setup(self, stage):
        dataset = sterna.open(self.store)
        self.train, self.val = dataset.split({"train": 0.8, "val": 0.2}, seed=7)

    def train_dataloader(self):
        return sterna.torch.Loader(
            self.train, self.batch_size, seed=1, order=self.order, transform=crop_and_flip
        )

    def val_dataloader(self):
        return sterna.torch.Loader(self.val, self.batch_size, shuffle=False, transform=whole)


class Classifier(pl.LightningModule):
    def __init__(self, n_classes):
        super().__init__()
        self.network = network(n_classes)

    def training_step(self, batch, batch_idx):
        images, labels, valid = batch
        losses = nn.functional.cross_entropy(self.network(images), labels, reduction="none")
        loss = (losses * valid).sum() / valid.sum().clamp(min=1)
        self.log("loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch, batch_idx):
        images, labels, valid = batch
        right = (self.network(images).argmax(1) == labels)[valid].float().mean()
        self.log("accuracy", right, batch_size=int(valid.sum()), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=3e-3)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", help="a directory or cassandra://host/keyspace/dataset")
    parser.add_argument("--folder", default="runs", help="for checkpoints")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=32, help="of each device")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--resume", help="checkpoint to go on from")
    args = parser.parse_args()

    saving = pl.callbacks.ModelCheckpoint(args.folder, save_last=True, every_n_train_steps=5)
    trainer = pl.Trainer(
        max_epochs=args.epochs,
        devices=args.devices,
        accelerator="auto",
        strategy="ddp" if args.devices > 1 else "auto",
        default_root_dir=args.folder,
        callbacks=[saving],
        logger=False,
        enable_progress_bar=False,
    )
    n_classes = len(sterna.open(args.store).classes)
    trainer.fit(Classifier(n_classes), Data(args.store, args.batch_size), ckpt_path=args.resume)
    if trainer.is_global_zero:
        print(f"accuracy {trainer.callback_metrics['accuracy']:.3f} (chance {1 / n_classes:.3f})")


if __name__ == "__main__":
    main()
