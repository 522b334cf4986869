"""Machines to order: /proc and /sys trees laid out in a folder, and a GPU driver that reads a script."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

GIB = 1024**3
MIB = 1024**2

CGROUP2_MOUNT = "30 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate"


def lay_out(root: Path, files: Mapping[str, str]) -> Path:
    """Write `files` (path below `root` -> text); gives `root` back."""
    for name, text in files.items():
        path = root / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def meminfo(total_bytes: int, available_bytes: int) -> str:
    """The two lines of /proc/meminfo that matter, and one that does not."""
    return f"MemTotal: {total_bytes // 1024} kB\nMemAvailable: {available_bytes // 1024} kB\nHugePages_Total: 0\n"


def build_nvml(folder: Path) -> Path:
    """The folder, with the scripted libnvidia-ml.so.1 built into it; skips the test without a C compiler."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("the scripted NVML is a C library, and there is no gcc to build it")
    source = Path(__file__).with_name("nvml.c")
    command = [compiler, "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", source]
    subprocess.run(command, check=True)
    return folder


def nvml_environment(library_folder: Path, script: Path, **more: str) -> dict[str, str]:
    """The environment of a program that is to see the GPUs of `script`. Never for one that imports torch."""
    environ = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    return environ | {"LD_LIBRARY_PATH": str(library_folder), "NVML_SCRIPT": str(script)} | more
