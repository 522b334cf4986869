"""The machine as one value, and versions that are read without importing anything."""

import subprocess
import sys
from importlib.metadata import version

from sainet.hardware.cpu import usable_cpus
from sainet.hardware.machine import read_machine, read_versions
from sainet.hardware.ram import host_ram_bytes


def test_the_parts_are_those_of_this_machine() -> None:
    machine = read_machine()
    assert machine.host_ram_bytes == host_ram_bytes() >= machine.ram.limit_bytes
    assert machine.cpus == usable_cpus() <= machine.host_cpus
    assert bool(machine.gpus.gpus) == (machine.gpus.unavailable_reason is None)


def test_versions_are_those_that_an_import_would_give() -> None:
    versions = read_versions()
    # torch itself takes seconds to import; its module of constants, run alone, does not.
    code = "import importlib.util as u, runpy; from pathlib import Path; "
    code += "folder = Path(u.find_spec('torch').origin).parent; "
    code += "print(runpy.run_path(str(folder / 'version.py'))['cuda'])"
    cuda = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert str(versions.torch_cuda) == cuda
    assert versions.torch == version("torch")
    assert versions.ultralytics == version("ultralytics")
    assert versions.python == ".".join(str(part) for part in sys.version_info[:3])
