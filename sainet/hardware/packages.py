"""Versions of installed packages, without importing them."""

from importlib.util import find_spec
from pathlib import Path

__all__ = ["installed_version"]


def installed_version(package: str) -> str | None:
    """The version that `pip` installed; None where there is none.

    Read from the name of its metadata folder: importlib.metadata would take longer to import than the whole question.
    """
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return None
    found = sorted(Path(spec.origin).parents[1].glob(f"{package}-*.dist-info"))
    return found[-1].name.removeprefix(f"{package}-").removesuffix(".dist-info") if found else None
