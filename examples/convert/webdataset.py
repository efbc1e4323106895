"""WebDataset tars into a store:

    python examples/convert/webdataset.py shards/train-*.tar pets.sterna --split train

Files of a tar that stand together and have the same name up to its first dot are one sample:
00012.jpg is its image, 00012.cls its label, 00012.txt a field `text`, 00012.json a field `json` (or
columns, with --json-columns), 00012.npy an array; any other is kept as bytes, named by its
suffix."""

import itertools
import json
import os
import tarfile

import recipe

IMAGES = ("jpg", "jpeg", "png", "webp")
KINDS = {"txt": "text", "json": "json", "npy": "npy", **dict.fromkeys(IMAGES, "image")}
ALIASES = {"txt": "text", "cls": "label"}


def split_name(path):
    """(key, suffix): the name ends at the first dot behind the last slash."""
    folder, slash, name = path.rpartition("/")
    key, _, suffix = name.partition(".")
    return folder + slash + key, suffix.lower()


def members(shard):
    """(key, suffix, bytes) of each file, in the order of the tar, which is read once."""
    with tarfile.open(shard, "r|*") as tar:
        for member in tar:
            key, suffix = split_name(member.name)
            if member.isfile() and suffix and os.path.basename(key):  # hidden files are none
                yield key, suffix, tar.extractfile(member).read()


def value_of(suffix, data):
    if suffix == "cls":
        text = data.decode().strip()
        return int(text) if text.lstrip("-").isdigit() else text
    return data


def sample_of(path, files, json_columns):
    """`files`: suffix -> bytes. The first of the usual suffixes of images is the sample's image."""
    sample = {"path": path}
    image = next((suffix for suffix in IMAGES if suffix in files), None)
    for suffix, data in files.items():
        if json_columns and suffix == "json":
            sample.update(json.loads(data))
        else:
            sample["image" if suffix == image else suffix] = value_of(suffix, data)
    return sample


def samples(shards, json_columns=False):
    for shard in shards:
        for key, files in itertools.groupby(members(shard), key=lambda member: member[0]):
            files = {suffix: data for _, suffix, data in files}
            yield sample_of(f"{recipe.stem(shard)}/{key}", files, json_columns)


def main():
    p = recipe.parser("WebDataset tars into a store.", "TAR")
    p.add_argument("--json-columns", action="store_true",
                   help="the .json of a sample are columns, not a field")
    args = p.parse_args()
    return recipe.write(args, samples(args.source, args.json_columns), ALIASES,
                        kind_of=lambda suffix: KINDS.get(suffix.rpartition(".")[2]))


if __name__ == "__main__":
    recipe.run(main)
