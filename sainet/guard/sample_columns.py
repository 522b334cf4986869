"""The columns of `memory.csv`: how a sample becomes a row, and a row a sample. Pure."""

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields

from sainet.errors import UsageError
from sainet.guard.sample import GpuSample, Sample

__all__ = ["checked_names", "column_names", "row_of", "sample_of"]

_FIGURES = tuple(field.name for field in fields(Sample) if field.name not in {"time_s", "gpus"})
_GPU_FIGURES = tuple(field.name for field in fields(GpuSample))
_GPU_COLUMN = re.compile(rf"gpu(\d{{1,2}})_({'|'.join(_GPU_FIGURES)})")
_PARTNERS = {
    "ram_working_set_bytes": "ram_limit_bytes",
    "shm_used_bytes": "shm_size_bytes",
    "used_bytes": "total_bytes",
}
"""Columns that say nothing without each other."""


def column_names(gpus: int) -> list[str]:
    """The columns of a file with so many GPUs, in the order in which they are written."""
    return ["time_s", *_FIGURES, *(f"gpu{place}_{name}" for place in range(gpus) for name in _GPU_FIGURES)]


def row_of(sample: Sample) -> list[str]:
    """Its cells, in the order of `column_names`."""
    figures = [getattr(sample, name) for name in _FIGURES]
    for gpu in sample.gpus:
        figures += [getattr(gpu, name, None) for name in _GPU_FIGURES]
    return [f"{sample.time_s:.3f}", *("" if value is None else str(value) for value in figures)]


def checked_names(cells: Sequence[str], where: str, warn: Callable[[str], None]) -> list[str]:
    """The names of the columns. `warn` is told of those that nobody looks at.

    Raises `UsageError` without `time_s`, and for a name that is there twice.
    """
    names = [cell.strip() for cell in cells]
    if "time_s" not in names:
        raise UsageError("there is no column time_s", where=where, hint="the first line names the columns: time_s, ...")
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice:
        raise UsageError(f"the column {twice} is there twice", where=where, hint="keep one")
    for name in names:
        if not _is_known(name):
            near = difflib.get_close_matches(name, column_names(1), n=1)
            warn(f"{where}: the column `{name}` is not looked at" + (f"; did you mean {near[0]}?" if near else ""))
    for name, partner in _missing_partners(names):
        warn(f"{where}: the column {name} says nothing without {partner}")
    return names


def sample_of(names: Sequence[str], cells: Sequence[str], where: str) -> Sample:
    """Raises `UsageError` for a cell that is no number, and for a row without its time or with another length."""
    if len(cells) != len(names):
        raise UsageError(f"{len(cells)} cells, but {len(names)} columns", where=where, hint="an empty cell is fine")
    told = {name: cell.strip() for name, cell in zip(names, cells, strict=True) if cell.strip() and _is_known(name)}
    if "time_s" not in told:
        raise UsageError("there is no time_s in this row", where=where, hint="every row needs one, in seconds")
    time_s = _number(told.pop("time_s"), "time_s", where)
    figures = {name: round(_number(text, name, where, least=0)) for name, text in told.items()}
    plain = {name: value for name, value in figures.items() if name in _FIGURES}
    return Sample(time_s, **plain, gpus=_gpus(figures))


def _is_known(name: str) -> bool:
    return name == "time_s" or name in _FIGURES or _GPU_COLUMN.fullmatch(name) is not None


def _missing_partners(names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for name in names:
        found = _GPU_COLUMN.fullmatch(name)
        head, figure = (f"gpu{found[1]}_", found[2]) if found else ("", name)
        for pair in _PARTNERS.items():
            if figure in pair:
                partner = head + next(other for other in pair if other != figure)
                if partner not in names:
                    yield name, partner


def _gpus(figures: Mapping[str, int]) -> tuple[GpuSample | None, ...]:
    by_place: dict[int, dict[str, int]] = {}
    for name, value in figures.items():
        if found := _GPU_COLUMN.fullmatch(name):
            by_place.setdefault(int(found[1]), {})[found[2]] = value
    told = [by_place.get(place, {}) for place in range(max(by_place, default=-1) + 1)]
    return tuple(GpuSample(**one) if {"used_bytes", "total_bytes"} <= one.keys() else None for one in told)


def _number(text: str, name: str, where: str, least: float = -math.inf) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or value < least:
        hint = (
            "seconds, on any clock"
            if name == "time_s"
            else "a number, not below 0; an empty cell where it is not known"
        )
        raise UsageError(f"{name} is `{text}`", where=where, hint=hint)
    return value
