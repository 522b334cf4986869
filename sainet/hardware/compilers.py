"""Whether `torch.compile` can work here, told without importing torch.

Its Inductor writes C++ for a CPU and Triton for a GPU, and both call a compiler and Python's headers while the training
runs. Where something is missing Ultralytics trains uncompiled and only logs it, or the first batch fails.
"""

import shlex
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

__all__ = ["Obstacle", "compile_obstacle"]

_PYTHON = f"python{sys.version_info.major}.{sys.version_info.minor}"
_HEADERS = Path(sysconfig.get_path("include", "posix_prefix"))


@dataclass(frozen=True)
class Obstacle:
    """What is missing, and what to install."""

    reason: str
    remedy: str


def compile_obstacle(environ: Mapping[str, str], *, on_gpu: bool, include: Path = _HEADERS) -> Obstacle | None:
    """What keeps a training process with these variables from compiling its model; None where nothing does.

    `include` is where Python's headers are looked for.
    """
    if on_gpu and find_spec("triton") is None:
        return Obstacle("the package triton is not installed", "pip install triton")
    if not (_has_c(environ) if on_gpu else _has_cpp(environ)):
        return Obstacle(*_MISSING_C if on_gpu else _MISSING_CPP)
    if not (include / "Python.h").is_file():
        return Obstacle(f"Python's headers are missing ({include}/Python.h)", f"apt install {_PYTHON}-dev")
    return None


_MISSING_C = "Triton needs a C compiler, and there is no gcc and no clang", "apt install gcc, or name one in env.CC"
_MISSING_CPP = "a CPU needs a C++ compiler, and there is no g++", "apt install g++, or name one in env.CXX"


def _has_c(environ: Mapping[str, str]) -> bool:
    """Triton takes `CC` as it is, else gcc, else clang."""
    named = environ.get("CC")
    return any(_found(name, environ) for name in ([named] if named is not None else ["gcc", "clang"]))


def _has_cpp(environ: Mapping[str, str]) -> bool:
    """Inductor takes `CXX`, which may have options behind it, else g++."""
    try:
        words = shlex.split(environ.get("CXX", "g++"))
    except ValueError:  # an open quote
        return False
    return bool(words) and _found(words[0], environ)


def _found(name: str, environ: Mapping[str, str]) -> bool:
    return shutil.which(name, path=environ.get("PATH")) is not None
