"""`manifest.parquet`: a row for each image of a prepared set. Written piece by piece, so that memory does not grow."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sainet.data.prepare.writing import DATE
from sainet.files import replacing

if TYPE_CHECKING:
    import polars as pl

__all__ = ["write_manifest"]

_AT_ONCE = 4096


def write_manifest(path: Path, rows: Iterable[Sequence[Any]], classes: Sequence[str]) -> None:
    """Write the rows that `writing.write_part` gave, in their order; the same rows give the same bytes.

    `file` is relative to the folder of the manifest, `size` in bytes, `hash` the SHA-256 of the file, as `sha256sum`
    prints it; `camera`, `partner` and `date` are null where the source does not say; `boxes_NAME` counts the boxes.
    """
    from polars.io.plugins import register_io_source

    schema = _schema(classes)

    def tables(*_: object) -> Iterator["pl.DataFrame"]:
        return _tables(rows, schema)

    with replacing(path) as temporary:
        lazy = register_io_source(tables, schema=schema)
        lazy.sink_parquet(temporary, row_group_size=_AT_ONCE, maintain_order=True)


def _schema(classes: Sequence[str]) -> "dict[str, pl.DataType | type[pl.DataType]]":
    import polars as pl

    return {
        "file": pl.String,
        "split": pl.String,
        "source_id": pl.String,
        "size": pl.Int64,
        "hash": pl.String,
        "camera": pl.String,
        "partner": pl.String,
        "date": pl.Datetime("ms"),
        **{f"boxes_{name}": pl.Int32 for name in classes},
    }


def _tables(rows: Iterable[Sequence[Any]], schema: "dict[str, Any]") -> Iterator["pl.DataFrame"]:
    import polars as pl

    texts = {**schema, "date": pl.String}
    remaining = iter(rows)
    while some := list(islice(remaining, _AT_ONCE)):
        named = [(f"images/{split}/{name}", split, *others) for name, split, *others in some]
        table = pl.DataFrame(named, schema=texts, orient="row")
        yield table.with_columns(pl.col("date").str.to_datetime(DATE, time_unit="ms"))
