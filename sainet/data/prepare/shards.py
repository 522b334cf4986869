"""One parquet shard: whether it is one of PyroSDIS, and some of its columns."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sainet.data.prepare.splits import split_of
from sainet.data.prepare.tree import Tree
from sainet.errors import DataError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["Shard", "open_shard"]

_TEXTS = ("annotations", "image_name", "partner", "camera", "date")


@dataclass(frozen=True)
class Shard:
    """`name` is the path within the source, `shown` that for people; `split` is '' where the name does not tell it."""

    path: str
    name: str
    shown: str
    split: str
    rows: int

    def columns(self, *names: str) -> "pl.DataFrame":
        """Some columns of all rows: not of the images, which would be the whole shard."""
        import polars as pl

        return pl.scan_parquet(self.path, glob=False).select(names).collect()


def open_shard(tree: Tree, index: int) -> Shard:
    """Raises `DataError` for what cannot be read, and for columns that are missing or of another type."""
    import polars as pl

    place, shown = tree.place(index), tree.shown(index)
    if place.member is not None:
        raise DataError("a shard in an archive cannot be read in place", where=shown, hint="unpack the archive")
    try:
        scanned = pl.scan_parquet(place.path, glob=False)
        schema = scanned.collect_schema()
        rows = int(scanned.select(pl.len()).collect().item())
    except (pl.exceptions.PolarsError, OSError) as error:
        raise DataError(
            f"cannot be read as parquet: {str(error).splitlines()[0]}", where=shown, hint="download it again"
        ) from error
    _check(schema, shown)
    return Shard(place.path, tree.name(index), shown, split_of(tree.name(index)) or "", rows)


def _check(schema: "pl.Schema", shown: str) -> None:
    import polars as pl

    hint = f"its columns are: {', '.join(schema)}"
    for name in ("image", *_TEXTS):
        if name not in schema:
            raise DataError(f"no column `{name}`", where=shown, hint=hint)
    for name in _TEXTS:
        if schema[name] != pl.String:
            raise DataError(f"`{name}` is {schema[name]}, not text", where=shown)
    image = schema["image"]
    fields = dict(image.to_schema()) if isinstance(image, pl.Struct) else {}
    if fields.get("bytes") != pl.Binary:
        raise DataError(f"`image` is {image}, without the bytes of the image", where=shown)
