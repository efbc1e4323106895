#!/usr/bin/env python3
"""Trains on several processes, each with its share of every epoch.

    torchrun --nproc-per-node 2 examples/torch_ddp.py STORE
    examples/torch_ddp.py STORE --processes 2        # without torchrun, on this machine

Nothing says which rank reads what: the loader asks torch.distributed. Each process keeps the
indices that it has used; together they are the data set, each sample once an epoch.

Needs torch, numpy and Pillow.
"""

import argparse
import os
import tempfile

import sterna
import sterna.torch
import torch
import torch.distributed as dist
import torch.multiprocessing
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch_train import crop_and_flip, network


def transform(sample):
    return (*crop_and_flip(sample), sample["index"])


def train(args):
    torch.manual_seed(0)  # the same weights to begin with
    torch.set_num_threads(1)
    dataset = sterna.open(args.store)
    model = DistributedDataParallel(network(len(dataset.classes)))
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    with sterna.torch.Loader(dataset, args.batch_size, seed=1, transform=transform) as loader:
        for epoch in range(args.epochs):
            used = []
            for images, labels, valid, index in loader:
                losses = nn.functional.cross_entropy(model(images), labels, reduction="none")
                loss = (losses * valid).sum() / valid.sum().clamp(min=1)
                optimizer.zero_grad()
                loss.backward()  # waits for the other ranks: all have equally many batches
                optimizer.step()
                used += index[valid].tolist()
            check(epoch, used, len(dataset), loss.item())


def check(epoch, used, n_samples, loss):
    everyone = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, used)
    if dist.get_rank() == 0:
        together = sorted(index for part in everyone for index in part)
        exact = together == list(range(n_samples))
        shares = " + ".join(str(len(part)) for part in everyone)
        print(f"epoch {epoch} loss {loss:.4f} samples {shares} exact {exact}", flush=True)
        if not exact:
            raise SystemExit("samples are missing, or came twice")


def run_alone(rank, args, meeting):
    """One of several processes that meet through a file."""
    dist.init_process_group(
        "gloo", init_method=f"file://{meeting}", rank=rank, world_size=args.processes
    )
    train(args)
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # some versions of gloo abort a process that ends the long way


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("store", help="a directory or cassandra://host/keyspace/dataset")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=16, help="of each process")
    parser.add_argument("--processes", type=int, default=0, help="start so many here")
    args = parser.parse_args()
    if args.processes:
        with tempfile.TemporaryDirectory() as folder:
            arguments = (args, os.path.join(folder, "meeting"))
            torch.multiprocessing.spawn(run_alone, arguments, nprocs=args.processes)
    else:  # torchrun's environment
        dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        train(args)
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
