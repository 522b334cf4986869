"""Which camera took an image, and when: by the manifest of the set, where it has one, or by the image's name."""

import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

__all__ = ["MANIFEST", "Cameras", "Shot", "dated"]

_DATED = re.compile(r"(?P<camera>.+?)[_-](?P<date>\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d)")
MANIFEST = "manifest.parquet"
_COLUMNS = ("file", "camera", "date")


class Shot(NamedTuple):
    """The camera, and the time in seconds."""

    camera: str
    time_s: float


class Cameras:
    """What is known of the images of a set; the manifest is believed before a name."""

    def __init__(self, said: Mapping[str, Shot]) -> None:
        self._said = said

    @classmethod
    def of_set(cls, yaml: Path) -> "Cameras":
        """With the manifest beside the data YAML, as `sainet data prepare` writes it; without what is none."""
        return cls(_read(yaml.parent / MANIFEST))

    def shot(self, path: str) -> Shot | None:
        """Of the image at `path`, absolute; None where neither says."""
        return self._said.get(path) or dated(path)


def dated(path: str) -> Shot | None:
    """The camera and the time by the name of an image, where it has both."""
    match = _DATED.match(path.rpartition("/")[2])
    seconds = _seconds(match["date"]) if match else None
    return Shot(match["camera"], seconds) if match and seconds is not None else None


def _seconds(date: str) -> float | None:
    try:
        return datetime.strptime(date, "%Y-%m-%dT%H-%M-%S").timestamp()
    except ValueError:  # a thirteenth month
        return None


def _read(manifest: Path) -> dict[str, Shot]:
    if not manifest.is_file():
        return {}
    import polars as pl

    try:
        table = pl.read_parquet(manifest, columns=list(_COLUMNS)).drop_nulls()
    except (pl.exceptions.PolarsError, OSError):  # somebody else's file of that name
        return {}
    if not isinstance(table.schema["date"], pl.Datetime):
        return {}
    folder = manifest.parent.resolve()
    return {f"{folder}/{file}": Shot(str(camera), date.timestamp()) for file, camera, date in table.iter_rows()}
