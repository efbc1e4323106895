"""What test_torch_lightning.py runs:

    python lightning_program.py URL FOLDER ORDER STEPS [CHECKPOINT]

Two ranks read until STEPS steps are done and save FOLDER/at-STEPS.ckpt; each writes the indices of
each batch to FOLDER/STEPS-RANK.json.
"""

import json
import os
import sys

import sterna.torch
import torch
from torch_support import valid_indices

try:
    import lightning.pytorch as pl
except ImportError:
    import pytorch_lightning as pl


class Reader(pl.LightningModule):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.used = []

    def training_step(self, batch, batch_idx):
        self.used.append([self.current_epoch, batch_idx, valid_indices(batch)])
        return (self.weight - 1) ** 2

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def main():
    url, folder, order, steps, *checkpoint = sys.argv[1:]
    model = Reader()
    saving = pl.callbacks.ModelCheckpoint(
        folder, "at-{step}", auto_insert_metric_name=False, every_n_train_steps=int(steps)
    )
    trainer = pl.Trainer(
        max_steps=int(steps),
        devices=2,
        accelerator="cpu",
        strategy="ddp",
        default_root_dir=folder,
        callbacks=[saving],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = sterna.torch.Loader(url, 7, seed=1, order=order)
    trainer.fit(model, loader, ckpt_path=checkpoint[0] if checkpoint else None)
    with open(os.path.join(folder, f"{steps}-{trainer.global_rank}.json"), "w") as file:
        json.dump(model.used, file)
    torch.distributed.barrier()
    if trainer.global_rank:
        os._exit(0)  # gloo's threads may abort a process that ends the long way


if __name__ == "__main__":
    main()
