"""The package's types: the stub is what the extension is, and the rest keeps to them."""

import importlib.util
import os
import subprocess
import sys

import pytest

if importlib.util.find_spec("mypy") is None:
    pytest.skip("no mypy", allow_module_level=True)

PROJECT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "pyproject.toml")


def run(*args, cwd):
    done = subprocess.run([sys.executable, "-m", *args], cwd=cwd, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout


def test_stub_is_what_the_module_is(tmp_path):
    allowed = tmp_path / "allowed"
    # Older Pythons have it without the name.
    allowed.write_text(r"sterna\._core\.\w+\.__buffer__" + "\n")
    run("mypy.stubtest", "--allowlist", allowed, "--ignore-unused-allowlist", "sterna._core",
        cwd=tmp_path)


def test_package_keeps_to_its_types(tmp_path):
    run("mypy", "--config-file", PROJECT, cwd=tmp_path)
