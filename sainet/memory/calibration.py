"""What this machine measured against what was predicted: one factor per GPU model, or for its CPU.

One factor and no intercept: a real step's error grows with the step, and one run cannot tell two numbers. A factor
belongs to the version of PyTorch that it was measured with, whose kernels and allocator it is about.
"""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from sainet.errors import SainetError
from sainet.files import replace_text
from sainet.hardware.packages import installed_version

__all__ = ["Calibration", "Measurement", "key", "read", "store"]

_FILE = "calibration.json"
_LEAST, _MOST = 0.5, 2.0
"""Beyond these it is not the machine that differs, but the measurement or the prediction that is wrong."""


class Measurement(BaseModel):
    """One real run: what was predicted for it, what it took, when (Unix time) and of which configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    predicted_bytes: Annotated[int, Field(gt=0)]
    measured_bytes: Annotated[int, Field(gt=0)]
    configuration: str
    time_s: float

    @property
    def factor(self) -> float:
        """Measured over predicted."""
        return self.measured_bytes / self.predicted_bytes


class Calibration(BaseModel):
    """All that was measured on this machine, the newest run of each key."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    measurements: Mapping[str, Measurement] = {}

    def measurement(self, name: str | None) -> Measurement | None:
        """What `key` names; None where nothing was measured, or nothing plausible is on file."""
        found = None if name is None else self.measurements.get(name)
        return found if found is not None and _is_plausible(found) else None

    def factor(self, name: str | None) -> float | None:
        found = self.measurement(name)
        return None if found is None else found.factor


def key(device: str, gpu: str | None = None) -> str | None:
    """What a factor is kept under. `device`: `cuda` or `cpu`; `gpu`: the card's name as NVML tells it.

    None for a GPU without a name, and without PyTorch: there is nothing to calibrate.
    """
    name = gpu if device == "cuda" else "cpu"
    torch = installed_version("torch")
    return None if name is None or torch is None else f"{name}, torch {torch}"


def read(folder: Path) -> Calibration:
    """The calibration kept in `folder`; an empty one where there is none, or where its file is damaged."""
    try:
        return Calibration.model_validate_json((folder / _FILE).read_bytes())
    except (OSError, ValidationError):
        return Calibration()


def store(
    folder: Path, name: str, *, predicted_bytes: int, measured_bytes: int, configuration: str
) -> tuple[Measurement, Path]:
    """Keep one run in `folder`, in the place of the one before with the same `key`; returns it and the file.

    Raises `SainetError` for a factor that no machine explains, and `StorageError` where it cannot be written.
    """
    new = Measurement(
        predicted_bytes=predicted_bytes,
        measured_bytes=measured_bytes,
        configuration=configuration,
        time_s=time.time(),
    )
    if not _is_plausible(new):
        raise SainetError(
            f"measured is {new.factor:.2f} times predicted: outside of {_LEAST:g} to {_MOST:g} this is no property "
            "of a machine, so it is not kept as its calibration",
            hint="somebody else's memory may have been measured too; on a quiet machine, or with a larger batch, "
            "measure again",
        )
    after = Calibration(measurements={**read(folder).measurements, name: new})
    path = folder / _FILE
    replace_text(path, after.model_dump_json(indent=2) + "\n")
    return new, path


def _is_plausible(measurement: Measurement) -> bool:
    return _LEAST <= measurement.factor <= _MOST
