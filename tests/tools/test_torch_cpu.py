#!/usr/bin/env python3
"""tools/torch_cpu.py, on a library that is linked with CUDA's as torch's are: loaded at once, whole."""

import os
import subprocess
import sys
import tempfile
import unittest

TOOL = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "tools", "torch_cpu.py")

CUDART = """\
int cudaGetDeviceCount(int *n) { *n = 1; return 0; }
int cudaFree(void *p) { return p != 0; }
"""
NVSHMEM = "int nvshmem_transport = 7;"
TORCH = """\
int cudaGetDeviceCount(int *n);
int cudaFree(void *p);
extern int nvshmem_transport;
int own(void) { return 1; }
int devices(void) { int n = 0; return cudaGetDeviceCount(&n) ? 100 : n; }
int transport(void) { return nvshmem_transport; }
int give(void) { return cudaFree(0) + own(); }
"""
LOAD = """\
import ctypes, os, sys
torch = ctypes.CDLL(sys.argv[1], mode=os.RTLD_NOW)
print(torch.devices(), torch.transport(), torch.give())
"""


class TorchCpu(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.scratch, self.lib = scratch.name, os.path.join(scratch.name, "lib")
        os.mkdir(self.lib)
        self.link("libcudart.so.13", CUDART, version="libcudart.so.13")
        self.link("libnvshmem_host.so.3", NVSHMEM)
        self.torch = self.link("libtorch.so", TORCH, "-Wl,-rpath,$ORIGIN", "-l:libcudart.so.13",
                               "-l:libnvshmem_host.so.3")

    def link(self, name, code, *options, version=None):
        source, script = os.path.join(self.scratch, "a.c"), os.path.join(self.scratch, "a.map")
        with open(source, "w") as file:
            file.write(code)
        with open(script, "w") as file:
            file.write(f"{version or ''} {{ *; }};\n")
        path = os.path.join(self.lib, name)
        subprocess.run(["cc", "-shared", "-fPIC", "-o", path, source, f"-Wl,-soname,{name}",
                        f"-Wl,--version-script={script}", f"-L{self.lib}", *options], check=True)
        return path

    def load(self):
        return subprocess.run([sys.executable, "-c", LOAD, self.torch], capture_output=True,
                              text=True)

    def remove_cuda(self):
        os.remove(os.path.join(self.lib, "libcudart.so.13"))
        os.remove(os.path.join(self.lib, "libnvshmem_host.so.3"))

    def test_what_is_there_is_left_alone(self):
        subprocess.run([TOOL, self.lib], check=True)
        self.assertEqual(self.load().stdout, "1 7 1\n")
        self.assertEqual(len(os.listdir(self.lib)), 3)

    def test_missing_libraries_say_that_there_is_no_driver(self):
        self.remove_cuda()
        self.assertIn("libcudart.so.13", self.load().stderr)
        subprocess.run([TOOL, self.lib], check=True)
        self.assertEqual(self.load().stdout, "100 0 36\n")

    def test_an_interrupted_run_is_finished_by_the_next(self):
        self.remove_cuda()
        os.symlink("libno_cuda.so", os.path.join(self.lib, "libcudart.so.13"))
        subprocess.run([TOOL, self.lib], check=True)
        self.assertEqual(self.load().stdout, "100 0 36\n")


if __name__ == "__main__":
    unittest.main()
