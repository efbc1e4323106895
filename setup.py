"""Builds the extension: the library, the command and python/core into one abi3 module.

STERNA_SYSTEM_LIB=1 links an installed libsterna instead of compiling src/ in. CFLAGS and LDFLAGS
are added to, as setuptools has it. The version is CMakeLists.txt's.
"""

import os
import re
import shlex
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent
SYSTEM_LIB = os.environ.get("STERNA_SYSTEM_LIB", "0") not in ("", "0")

# What pkg-config calls it (the first that is there), and Debian's package.
LIBRARIES = [
    (("lmdb",), "liblmdb-dev"),
    (("sqlite3",), "libsqlite3-dev"),
    (("libssl",), "libssl-dev"),
    (("libcrypto",), "libssl-dev"),
    (("libisal",), "libisal-dev"),
    (("spng", "libspng"), "libspng-dev"),
    (("libwebp",), "libwebp-dev"),
    (("libjpeg",), "libjpeg-dev"),
]


def version():
    text = (HERE / "CMakeLists.txt").read_text()
    found = re.search(r"^project\(sterna VERSION ([0-9.]+)", text, re.MULTILINE)
    if not found:
        sys.exit("setup.py: CMakeLists.txt names no version")
    return found.group(1)


def pkg_config(*args):
    """Its answer as words, or None if it does not know the module."""
    command = [os.environ.get("PKG_CONFIG", "pkg-config"), *args]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        sys.exit("sterna needs pkg-config to be built. On Debian and Ubuntu:\n"
                 "  sudo apt-get install pkg-config")
    return shlex.split(done.stdout) if done.returncode == 0 else None


def modules():
    """Names of all libraries, as pkg-config knows them here; or the end, with what is missing."""
    wanted = [(("sterna",), None)] if SYSTEM_LIB else LIBRARIES
    names, missing = [], []
    for choices, package in wanted:
        name = next((c for c in choices if pkg_config("--exists", c) is not None), None)
        if name:
            names.append(name)
        elif package not in missing:
            missing.append(package)
    if SYSTEM_LIB and missing:
        sys.exit("STERNA_SYSTEM_LIB=1, but pkg-config finds no libsterna: install it (`make "
                 "install`), or add its lib/pkgconfig to PKG_CONFIG_PATH")
    if missing:
        sys.exit("sterna needs libraries that are not installed. On Debian and Ubuntu:\n"
                 f"  sudo apt-get install {' '.join(missing)}")
    return names


def sources():
    command = [path for path in glob("cli/*.c") if not path.endswith("/main.c")]
    library = [] if SYSTEM_LIB else glob("src/*.c") + glob("src/*/*.c")
    return sorted(glob("python/core/*.c") + command + library)


def flags_of(words):
    """pkg-config's words as Extension wants them."""
    kinds = {"-I": "include_dirs", "-L": "library_dirs", "-l": "libraries"}
    flags = {"include_dirs": [], "library_dirs": [], "libraries": [], "rest": []}
    for word in words:
        kind = kinds.get(word[:2])
        flags[kind or "rest"].append(word[2:] if kind else word)
    return flags


class BuildExt(build_ext):
    """Looks for libraries only when something is built, makes version.h, compiles in parallel."""

    def build_extension(self, ext):
        names = modules()
        cflags = flags_of(pkg_config("--cflags", *names))
        libs = flags_of(pkg_config("--libs", *names))
        generated = Path(self.build_temp).resolve() / "include"
        self.make_version_header(generated / "sterna" / "version.h")
        ext.include_dirs += cflags["include_dirs"]
        if not SYSTEM_LIB:
            ext.include_dirs[:0] = [str(generated), "include"]
        ext.extra_compile_args += cflags["rest"]
        ext.library_dirs += libs["library_dirs"]
        ext.libraries += [*libs["libraries"], "pthread", "m"]
        ext.extra_link_args += libs["rest"]
        self.compiler.compile = self.compile_in_parallel
        super().build_extension(ext)

    @staticmethod
    def make_version_header(path):
        numbers = dict(zip(("MAJOR", "MINOR", "PATCH"), version().split(".")))
        text = (HERE / "include/sterna/version.h.in").read_text()
        text = text.replace("@PROJECT_VERSION@", version())
        for part, number in numbers.items():
            text = text.replace(f"@PROJECT_VERSION_{part}@", number)
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)

    def compile_in_parallel(self, sources, output_dir=None, macros=None, include_dirs=None,
                            debug=0, extra_preargs=None, extra_postargs=None, depends=None):
        """CCompiler.compile(), but as many files at once as there are processors."""
        compiler = self.compiler
        macros, objects, postargs, preprocess, build = compiler._setup_compile(
            output_dir, macros, include_dirs, sources, depends, extra_postargs)
        options = compiler._get_cc_args(preprocess, debug, extra_preargs)

        def compile_one(item):
            target, (source, suffix) = item
            compiler._compile(target, source, suffix, options, postargs, preprocess)

        with ThreadPoolExecutor(self.parallel or os.cpu_count() or 1) as pool:
            list(pool.map(compile_one, build.items()))
        return objects


os.chdir(HERE)
setup(
    version=version(),
    license="Apache-2.0",
    ext_modules=[
        Extension(
            "sterna._core",
            sources(),
            include_dirs=["cli", "src"],
            define_macros=[("_GNU_SOURCE", None)],
            depends=["python/core/exports.map", *glob("**/*.h", recursive=True)],
            extra_compile_args=["-std=gnu11", "-fvisibility=hidden"],
            extra_link_args=["-Wl,--version-script=python/core/exports.map"],
            py_limited_api=True,
        )
    ],
    cmdclass={"build_ext": BuildExt},
    options={
        "bdist_wheel": {"py_limited_api": "cp311"},
        "build": {"build_base": "build/setuptools"},  # build/ itself is CMake's
    },
)
