"""What one rank of test_torch_distributed.py runs: python rank_program.py RANK WORLD DIR URL WHAT

Prints a JSON object. Ranks meet through a file in DIR: no port is involved.
"""

import json
import os
import sys

import sterna
import sterna.torch
import torch.distributed as dist
from torch_support import valid_indices


def message_of(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def loader_of(url, **options):
    return sterna.torch.Loader(url, 7, **{"seed": 1, **options})


def epoch_of(loader):
    return [valid_indices(batch) for batch in loader]


def two(rank, url, directory):
    """Everything that two ranks do."""
    got = {}
    with loader_of(url) as loader:
        got["place"] = [loader.rank, loader.world_size, loader.rank_source]
        got["epoch"] = epoch_of(loader)
    with loader_of(url, uneven="exact") as loader:
        got["exact"] = epoch_of(loader)
    with loader_of(url, rank=0, world_size=1) as loader:  # nobody else takes part
        if rank == 0:
            got["alone"] = epoch_of(loader)

    differences = {
        "seed": {"seed": rank},
        "batch_size": {"global_batch": 14 if rank == 0 else 28},
        "order": {"order": "arrival" if rank else "strict"},
    }
    for name, options in differences.items():
        batch = {} if "global_batch" in options else {"batch_size": 7}
        with sterna.torch.Loader(url, **{"seed": 1, **batch, **options}) as loader:
            got[name] = message_of(lambda loader=loader: iter(loader))
    with sterna.torch.Loader(sterna.open(url).where(f"label <> {rank}"), 7) as loader:
        got["selection"] = message_of(lambda: iter(loader))
    broken = loader_of(url)
    if rank == 1:
        broken.dataset.close()
    got["one cannot"] = message_of(lambda: iter(broken))

    with loader_of(url, order="arrival") as loader:  # stops after three steps, saved by all in one
        batches = iter(loader)
        got["first part"] = [valid_indices(next(batches)) for _ in range(3)]
        got["merged"] = sterna.torch.gather_state(loader)
        got["unmerged"] = loader.state_dict()
    return got


def replicated(rank, url, directory):
    """Four ranks, of which 0, 1 and 2, 3 are peers of model parallelism: two data ranks."""
    got = {}
    groups = [dist.new_group(ranks) for ranks in ([0, 2], [1, 3])]
    with loader_of(url, process_group=groups[rank % 2]) as loader:
        got["group"] = epoch_of(loader)
        got["place"] = [loader.rank, loader.world_size, loader.rank_source]
    got["stranger"] = message_of(lambda: loader_of(url, process_group=groups[1 - rank % 2]))
    try:
        from torch.distributed.device_mesh import init_device_mesh
    except ImportError:
        return got
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    with loader_of(url, device_mesh=mesh["dp"]) as loader:
        got["mesh"] = epoch_of(loader)
        got["mesh place"] = [loader.rank, loader.world_size, loader.rank_source]
    with loader_of(url, device_mesh=mesh) as loader:
        got["mesh of two data dimensions"] = epoch_of(loader)
    with loader_of(url, device_mesh=mesh["dp"], seed=rank // 2) as loader:
        got["mesh seed"] = message_of(lambda: iter(loader))
    return got


def main():
    rank, world, directory, url, what = sys.argv[1:]
    dist.init_process_group(
        "gloo", init_method=f"file://{directory}/meet", rank=int(rank), world_size=int(world)
    )
    print(json.dumps(globals()[what](int(rank), url, directory)), flush=True)
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads may abort a process that ends the long way


if __name__ == "__main__":
    main()
