"""A Hugging Face data set into a store (needs the package `datasets`):

    python examples/convert/huggingface.py uoft-cs/cifar10 cifar.sterna --split train

Images are taken as they are stored, undecoded. SOURCE may also be a folder that save_to_disk()
made."""

import os

import recipe

ALIASES = {"img": "image"}


def undecoded(dataset):
    """The same, with images and sounds as {bytes, path}."""
    for name, feature in (dataset.features or {}).items():
        if hasattr(feature, "decode") and hasattr(feature, "decode_example"):
            dataset = dataset.cast_column(name, type(feature)(decode=False))
    return dataset


def load(args):
    import datasets

    if os.path.isdir(args.source) and os.path.exists(os.path.join(args.source, "state.json")):
        return datasets.load_from_disk(args.source)
    return datasets.load_dataset(args.source, args.config, split=args.part,
                                 revision=args.revision, streaming=args.streaming)


def samples(dataset, part):
    """Of any iterable of dicts; numbers and texts of a label alike."""
    for row, theirs in enumerate(dataset):
        yield {"path": f"{part}/{row:09d}", **theirs}


def class_names(features, names):
    """Names of the labels, if the column that is called label here has some."""
    for column, feature in (features or {}).items():
        if names.get(column, column) == "label":
            return getattr(feature, "names", None)
    return None


def main():
    p = recipe.parser("A Hugging Face data set into a store.", "SOURCE", many=False)
    p.add_argument("--config", metavar="NAME", help="configuration of the data set")
    p.add_argument("--part", metavar="SPLIT", default="train", help="which of its splits (train)")
    p.add_argument("--revision", metavar="R", help="its version: a branch, tag or commit")
    p.add_argument("--streaming", action="store_true", help="do not keep its files on the disk")
    args = p.parse_args()
    dataset = undecoded(load(args))
    total = 0 if args.streaming else len(dataset)
    return recipe.write(args, samples(dataset, args.part), ALIASES, files=True, total=total,
                        classes=class_names(dataset.features, dict(args.name)))


if __name__ == "__main__":
    recipe.run(main)
