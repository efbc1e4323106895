"""Parquet and Arrow files into a store (needs pyarrow):

    python examples/convert/parquet.py cifar10/train-*.parquet cifar.sterna --split train

Numbers and texts become columns, bytes and images fields, lists and structs fields of kind json.
What Hugging Face writes beside its tables is understood: images as {bytes, path}, and the names of
labels."""

import json

import pyarrow
import pyarrow.ipc
import pyarrow.parquet

import recipe

ROWS = 64  # at a time in memory
ALIASES = {"img": "image"}


def batches(path):
    """(schema, record batches) of a file."""
    if path.endswith(".arrow"):
        source = pyarrow.memory_map(path)
        try:
            reader = pyarrow.ipc.open_stream(source)
            return reader.schema, reader
        except pyarrow.ArrowInvalid:  # the other of Arrow's two forms
            reader = pyarrow.ipc.open_file(source)
            return reader.schema, map(reader.get_batch, range(reader.num_record_batches))
    file = pyarrow.parquet.ParquetFile(path)
    return file.schema_arrow, file.iter_batches(ROWS)


def samples(paths):
    for path in paths:
        row = 0
        for batch in batches(path)[1]:
            for at in range(0, batch.num_rows, ROWS):
                for theirs in batch.slice(at, ROWS).to_pylist():
                    yield {"path": f"{recipe.stem(path)}/{row:09d}", **theirs}
                    row += 1


def features(path):
    """Hugging Face's: column -> what it holds."""
    told = (batches(path)[0].metadata or {}).get(b"huggingface")
    return json.loads(told)["info"]["features"] if told else {}


def class_names(features, names):
    """Names of the labels, if the column that is called label here has some."""
    for column, what in features.items():
        if names.get(column, column) == "label" and isinstance(what, dict):
            return what.get("names")
    return None


def main():
    p = recipe.parser("Parquet and Arrow files into a store.", "FILE")
    args = p.parse_args()
    total = sum(pyarrow.parquet.ParquetFile(path).metadata.num_rows
                for path in args.source if not path.endswith(".arrow"))
    classes = class_names(features(args.source[0]), dict(args.name))
    return recipe.write(args, samples(args.source), ALIASES, classes=classes, total=total)


if __name__ == "__main__":
    recipe.run(main)
