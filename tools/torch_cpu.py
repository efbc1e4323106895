#!/usr/bin/env python3
"""Makes the torch of PyPI importable on a machine without CUDA's libraries (3 GB of wheels).

  torch_cpu.py DIR      the lib directory of an installed torch; needs cc and readelf

Torch's libraries are linked with CUDA's and bind all their functions when they are loaded. For each
library that is missing, a link to one tiny library is laid beside them. It defines every symbol that
is looked for there: a function that returns 35, which is CUDA's word for a driver that is too old,
so that torch finds no device and computes on the CPU. For tests only, never where there is a GPU.
"""

import contextlib
import os
import re
import subprocess
import sys
import tempfile

STAND_IN = "libno_cuda.so"
LIBRARY = re.compile(r"lib(cu|nv|nccl)")
SYMBOL = re.compile(r"(cu|__cuda|nv|p?nccl)[A-Za-z]")
CODE = """\
int driver_too_old(void) { return 35; }
long nothing[512];
"""


def read(path: str) -> tuple[set[str], set[str], set[tuple[str, str, str]]]:
    """The libraries that one needs, the symbols that it defines, and those (name, version, type)
    that it looks for elsewhere."""
    told = subprocess.run(["readelf", "--dynamic", "--dyn-syms", "--wide", path],
                          check=True, capture_output=True, text=True).stdout
    needed = set(re.findall(r"\(NEEDED\).*\[(.+)\]", told))
    defined, wanted = set(), set()
    # Num: Value Size Type Bind Visibility Section Name@Version
    for kind, section, symbol in re.findall(
            r"^ *\d+: \w+ +\S+ (\w+) +\w+ +\w+ +(\w+) (\S+)", told, re.MULTILINE):
        name, _, version = symbol.partition("@")
        if section == "UND":
            wanted.add((name, version.lstrip("@"), kind))
        else:
            defined.add(name)
    return needed, defined, wanted


def write_stand_in(path: str, symbols: set[tuple[str, str, str]]) -> None:
    code, versions = CODE, {}
    for name, version, kind in sorted(symbols):
        target = "nothing" if kind == "OBJECT" else "driver_too_old"
        code += f'__asm__(".globl {name}\\n.set {name}, {target}");\n'
        if version:
            versions.setdefault(version, []).append(name)
    script = "".join(f"{version} {{ global: {'; '.join(names)}; }};\n"
                     for version, names in versions.items())
    with tempfile.TemporaryDirectory() as scratch:
        source, script_path = os.path.join(scratch, "no_cuda.c"), os.path.join(scratch, "map")
        with open(source, "w") as file:
            file.write(code)
        with open(script_path, "w") as file:
            file.write(script)
        subprocess.run(["cc", "-shared", "-fPIC", "-nostdlib", "-o", path, source,
                        f"-Wl,-soname,{STAND_IN},--version-script={script_path}"], check=True)


def main(directory: str) -> None:
    real = {name for name in os.listdir(directory) if ".so" in name and name != STAND_IN
            and not os.path.islink(os.path.join(directory, name))}
    needed, defined, wanted = set(), set(), set()
    for name in real:
        for all_of, its in zip((needed, defined, wanted), read(os.path.join(directory, name))):
            all_of |= its
    missing = sorted(name for name in needed - real if LIBRARY.match(name))
    if not missing:
        return
    write_stand_in(os.path.join(directory, STAND_IN),
                   {(name, version, kind) for name, version, kind in wanted
                    if name not in defined and (version in missing or SYMBOL.match(name))})
    for name in missing:
        with contextlib.suppress(FileExistsError):  # of a run that was interrupted
            os.symlink(STAND_IN, os.path.join(directory, name))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
