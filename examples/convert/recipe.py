"""What the recipes of this folder share: options, names, and the writing.

A recipe is a generator of samples (dicts) and a few lines of main(); copy one and change it for a
source of your own. Killed and run again it completes: the same samples get the same paths, so the
same ids, and bytes that are in the store already are not written again."""

import argparse
import datetime
import decimal
import os
import re
import sys

import sterna

SKIPPED = 3  # exit code, as the command's
IN_EACH_IMAGE = ("width", "height", "channels", "format")  # the store reads them from its header
TAKEN = {"id": "source_id", "run": "source_run"}  # names that the catalogue has for itself


def parser(about, source, many=True):
    """Options that all recipes have; `source` names what comes before STORE."""
    p = argparse.ArgumentParser(description=about)
    p.add_argument("source", metavar=source, nargs="+" if many else None)
    p.add_argument("store", metavar="STORE",
                   help="a directory, or cassandra://HOST/KEYSPACE/DATASET")
    p.add_argument("--name", metavar="THEIRS=OURS", type=pair, action="append", default=[],
                   help="call something of the source image, label, class, path, split, ...")
    p.add_argument("--field", metavar="NAME=KIND", type=pair, action="append", default=[],
                   help="keep NAME as a field of this kind (image, mask, bytes, text, json, npy)")
    p.add_argument("--leave", metavar="NAME", action="append", default=[],
                   help="leave something of the source out")
    p.add_argument("--classes", metavar="FILE", help="names of the labels 0, 1, 2 ..., one a line")
    p.add_argument("--prefix", metavar="P", help="put P/ before each sample's path")
    p.add_argument("--split", metavar="NAME", help="of all samples: train, val, test ...")
    p.add_argument("--create", action="store_true", help="make the tables in a cluster")
    p.add_argument("--replication", metavar="DC=N", help="with --create: make the keyspace too")
    p.add_argument("--replace", action="store_true",
                   help="other bytes under a known path replace the old ones")
    p.add_argument("--on-error", choices=("skip", "stop"), default="skip",
                   help="what is no image, empty or unreadable: list it and go on, or stop")
    p.add_argument("--allow-skipped", metavar="N", type=int, default=0,
                   help="exit with 0 if no more than N samples were skipped")
    return p


def pair(text):
    left, equals, right = text.partition("=")
    if not (left and equals and right):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE")
    return left, right


def stem(path):
    """Name of a file without what all of its kind end with: where its samples' paths begin."""
    name = os.path.basename(path.rstrip("/"))
    return re.sub(r"(\.(tar|parquet|arrow|tfrecords?|gz|bz2|xz|zst))+$", "", name) or name


def check_sources(paths):
    """Two of one name would give their samples the same paths, and so the same ids."""
    known = {}
    for path in paths:
        other = known.setdefault(stem(path), path)
        if other != path:
            raise ValueError(f"{other} and {path} have the same name: convert them one after the "
                             "other, each with a --prefix of its own")


def plain(value):
    """A value that JSON or a column can hold, of one that the source's library made."""
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def is_picture(value):
    """Hugging Face's form of an image (or a sound) that is not decoded."""
    return isinstance(value, dict) and value.keys() == {"bytes", "path"}


class Names:
    """Makes a source's sample one of the store's.

    writer    knows the fields
    aliases   theirs -> ours, unless --name says otherwise
    kind_of   theirs -> kind of field, or None: by the value
    classes   names of the labels 0, 1, 2 ..., or None
    files     pictures without bytes are read from the path they name"""

    def __init__(self, args, writer, aliases, kind_of, classes, files):
        self.names = {**aliases, **dict(args.name)}
        self.writer = writer
        self.columns = set()
        self.leave = set(args.leave)
        self.split = args.split
        self.kind_of, self.classes, self.files = kind_of, classes, files

    def ours(self, theirs):
        name = self.names.get(theirs, TAKEN.get(theirs, theirs))
        name = re.sub(r"\W", "_", name, flags=re.ASCII)
        return f"_{name}" if name[0].isdigit() else name

    def kind(self, theirs, value):
        """Bytes, objects and arrays are kept in fields; all else (None) in columns."""
        if kind := self.kind_of(theirs):
            return kind
        if isinstance(value, (bytes, bytearray, memoryview)):
            return "bytes"
        if isinstance(value, (dict, list)):
            return "json"
        return "npy" if getattr(value, "ndim", 0) > 0 else None

    def declare(self, name, kind):
        if kind is None:
            self.columns.add(name)
        elif name in self.columns:
            raise ValueError(f"{name}: is a column in some samples and {kind} in others; "
                             f"make it a field in all: --field {name}={kind}")
        else:
            self.writer.declare(name, kind)

    def picture(self, value, sample):
        if value["path"] is not None:
            sample.setdefault("file", value["path"])
        if value["bytes"] is None and value["path"] is not None and self.files:
            with open(value["path"], "rb") as file:
                return file.read()
        return value["bytes"]

    def put(self, sample, theirs, value):
        name = self.ours(theirs)
        value = self.picture(value, sample) if is_picture(value) else plain(value)
        if value is None:
            return
        if name == "path":
            value = str(value)
        elif name not in self.writer.fields:
            self.declare(name, self.kind(theirs, value))
        # A text of the source is never the name of a file here.
        if isinstance(value, str) and self.writer.fields.get(name, "text") not in ("text", "json"):
            value = value.encode()
        sample[name] = value

    def classify(self, sample):
        """A label that has a name becomes a class, which sets it: two could contradict."""
        label = sample.get("label")
        if isinstance(label, str):
            sample["class"] = sample.pop("label")
        elif label is not None and self.classes is not None:
            if label >= len(self.classes):
                raise ValueError(f"label {label}, but only {len(self.classes)} labels have names")
            del sample["label"]
            if label >= 0:  # -1: not known
                sample["class"] = self.classes[label]
        elif label is not None and "class" in sample:
            sample["class_name"] = sample.pop("class")

    def sample(self, theirs):
        sample = {}
        for key, value in theirs.items():
            if key not in self.leave:
                self.put(sample, key, value)
        if "image" in sample:
            for name in IN_EACH_IMAGE:
                sample.pop(name, None)
        if self.split is not None:
            sample["split"] = self.split
        self.classify(sample)
        return sample


def read_classes(path):
    with open(path, encoding="utf-8") as file:
        return file.read().splitlines()


def write(args, samples, aliases={}, kind_of=lambda theirs: None, classes=None, files=False,
          total=0):
    """Writes all samples; returns the exit code. The options between are those of Names."""
    classes = read_classes(args.classes) if args.classes else classes
    sources = [args.source] if isinstance(args.source, str) else args.source
    check_sources(sources)
    with sterna.writer(args.store, fields=dict(args.field), source=" ".join(sources),
                       classes=classes, prefix=args.prefix, on_error=args.on_error,
                       replace=args.replace, create=args.create, replication=args.replication,
                       progress=True, total=total) as w:
        names = Names(args, w, aliases, kind_of, classes, files)
        for theirs in samples:
            w.add(names.sample(theirs))
    return tell(w.result, args.allow_skipped)


def tell(result, allow_skipped):
    print(f"{result.added:,} added, {result.unchanged:,} unchanged, {result.replaced:,} replaced, "
          f"{result.n_skipped:,} skipped, {result.bytes:,} bytes in {result.seconds:.2f} s")
    for skipped in result.skipped[:20]:
        print(f"{skipped.outcome}: {skipped.path} {skipped.why}".rstrip(), file=sys.stderr)
    return 0 if result.n_skipped <= allow_skipped else SKIPPED


def run(main):
    """Of a script: one line for what its user can mend."""
    name = os.path.basename(sys.argv[0])
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print(f"{name}: interrupted; the same command does the rest", file=sys.stderr)
        sys.exit(130)
    except (sterna.Error, ImportError, OSError, ValueError) as e:
        print(f"{name}: {e}", file=sys.stderr)
        sys.exit(1)
