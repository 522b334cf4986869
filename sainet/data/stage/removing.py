"""Taking staged sets away, and nothing else."""

from contextlib import suppress
from pathlib import Path

from sainet.data.stage.layout import default_root, partial_of, places_below
from sainet.data.stage.record import RECORD, read_record
from sainet.data.stage.workshop import begun_from, is_workshop, opened
from sainet.errors import UsageError

__all__ = ["places_of", "remove"]


def places_of(what: Path) -> list[Path]:
    """The staged sets that a folder, or the data YAML that they were staged from, stands for.

    Raises `UsageError` where there is none.
    """
    what = what.expanduser().absolute()
    if what.suffix in {".yaml", ".yml"}:
        found = [place for place in places_below(default_root()) if _source(place) == str(what)]
        hint = f"sainet data stage --status shows what is staged; looked in {default_root()}"
    else:
        place = what.resolve()
        place = place.with_name(place.name.removesuffix(".partial"))
        found = [place] if _is_ours(place) else []
        hint = f"a staged set has a {RECORD}; sainet data stage --status shows those in {default_root()}"
    if not found:
        raise UsageError(f"{what} is no staged set, and nothing was staged from it", hint=hint)
    return found


def remove(place: Path) -> None:
    """Take a staged set away, or what there is of one.

    Raises `RunLockedError` while a training uses it or a staging works on it.
    """
    with opened(place) as shop:
        if (place / RECORD).exists():
            shop.retire()
        shop.close()
    if place.parent == default_root():
        with suppress(OSError):  # others are still staged there
            place.parent.rmdir()


def _is_ours(place: Path) -> bool:
    partial = partial_of(place)
    return (place / RECORD).is_file() or (partial.is_dir() and is_workshop(partial))


def _source(place: Path) -> str | None:
    record = read_record(place)
    return begun_from(place) if record is None else record.source
