"""The examples of README.md and docs/python.md run as they stand.

By hand, against another store: README_URL=cassandra://... tests/python/run current build
tests/python/test_docs.py -k readme"""

import ast
import importlib
import json
import os
import re
import subprocess
import sys

import pytest

import sterna
from support import make_folder, png, write

TIME_LIMIT_S = 240
ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


def blocks(path):
    """(line, needs, code) of each block of Python."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        text = file.read()
    for match in re.finditer(r"^```python(?: needs=(\w+))?\n(.*?)^```$", text, re.M | re.S):
        yield text.count("\n", 0, match.start(2)) + 1, match[1], match[2]


def readme_example(url):
    """The README's first one, with another URL."""
    _, _, code = next(blocks("README.md"))
    changed, n = re.subn(r'sterna\.open\("[^"]*"\)', lambda _: f"sterna.open({url!r})", code)
    assert n == 1
    return changed


def test_readme(tmp_path):
    """In a process of its own, as it would be pasted into a file. The demo's pictures are large."""
    url = os.environ.get("README_URL")
    if not url:
        for i in range(150):
            write(str(tmp_path / f"photos/class{i % 3}/{i:03}.png"), png(i, width=60 + i % 20))
        url = str(tmp_path / "store")
        sterna.ingest(url, tmp_path / "photos", progress=None)
    done = subprocess.run([sys.executable, "-c", readme_example(url)], capture_output=True,
                          text=True, timeout=TIME_LIMIT_S, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.match(r"\d+ \S", done.stdout), done.stdout
    with sterna.open(url) as ds:
        val = ds.where("width > 64").split({"train": 0.9, "val": 0.1}, seed=7)["val"]
        assert done.stdout.startswith(f"{len(val)} ")


def is_there(needs):
    try:
        importlib.import_module(f"sterna.{needs}")
    except ModuleNotFoundError:
        return False
    return True


def test_python_page(tmp_path, monkeypatch):
    """All blocks in one namespace, from top to bottom."""
    monkeypatch.chdir(tmp_path)
    make_folder("pets", classes=3, each=20)
    sterna.ingest("pets.sterna", "pets", progress=None)
    names, left_out = {}, set()
    for line, needs, code in blocks("docs/python.md"):
        if needs and not is_there(needs):
            left_out.add(needs)
            continue
        exec(compile("\n" * (line - 1) + code, "docs/python.md", "exec"), names)
    # What the page says of them.
    assert (len(names["ds"]), names["ds"].classes) == (60, ["class0", "class1", "class2"])
    assert len(names["rest"]) == len(names["train"]) - 2 * 16 + (-len(names["train"])) % 16
    assert names["result"].added == 60 and names["w"].result.added == 20
    if left_out:
        pytest.skip(f"the blocks that need {', '.join(left_out)} were left out")


def test_notebook(tmp_path):
    """Cell by cell, as it stands; and what the last line of a cell shows."""
    make_folder(str(tmp_path / "pets"), classes=3, each=50)
    url = str(tmp_path / "store")
    sterna.ingest(url, tmp_path / "pets", progress=None)
    with open(os.path.join(ROOT, "examples", "notebook.ipynb"), encoding="utf-8") as file:
        cells = json.load(file)["cells"]
    names, shown = {}, []
    for cell in cells:
        if cell["cell_type"] != "code":
            continue
        code = "".join(cell["source"]).replace("../build/demo/store", url).replace("> 64", "> 10")
        body = ast.parse(code).body
        exec(compile(ast.Module(body[:-1], []), "cell", "exec"), names)
        shown.append(eval(ast.unparse(body[-1]), names))
    assert shown[-1] is True
    for value in shown[:3]:
        assert value._repr_html_().startswith("<")


def test_links_lead_somewhere():
    for page in ("README.md", "docs/python.md"):
        with open(os.path.join(ROOT, page), encoding="utf-8") as file:
            for target in re.findall(r"\]\(([^)#:]+)\)", file.read()):
                assert os.path.exists(os.path.join(ROOT, os.path.dirname(page), target)), target


def test_recipes_on_the_page_exist():
    with open(os.path.join(ROOT, "docs/python.md"), encoding="utf-8") as file:
        named = set(re.findall(r"examples/convert/(\w+\.py)", file.read()))
    there = set(os.listdir(os.path.join(ROOT, "examples/convert"))) - {"recipe.py", "__pycache__"}
    assert named == there
